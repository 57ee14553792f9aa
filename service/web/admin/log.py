"""The audit log: who did what, when, to what."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from service.operators import accounts, audit
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.web.admin.desk import Desk

_PAGE = 50


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/admin/log")
    def log(request: Request, act: str = "", operator: str = "", before: str = "") -> Response:
        def page(seat: Seat) -> Response:
            chosen = Act(act) if act in tuple(Act) else None
            with desk.site.database.transaction() as session:
                found = audit.page(
                    session, act=chosen, operator_id=_number(operator), before=_number(before), limit=_PAGE
                )
                operators = accounts.listing(session, desk.site.settings)
            values = {"page": found, "acts": sorted(Act), "act": act, "operator": operator, "operators": operators}
            return desk.page(request, seat, "log.html", values)

        return desk.see(request, page)

    return router


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
