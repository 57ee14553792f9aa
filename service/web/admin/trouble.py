"""What is stuck, and the buttons for it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.database.tables import OperatorRole
from service.operators import remedies
from service.operators.sessions import Seat
from service.overview import queues, trouble
from service.overview.trouble import Remedy
from service.web.admin.desk import Csrf, Desk, Done

_PATH = "/admin/trouble"


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get(_PATH)
    def stuck(request: Request) -> Response:
        def page(seat: Seat) -> Response:
            found = trouble.found(desk.site.database, desk.site.settings)
            values = {"found": found, "queues": queues.queues(desk.site.database)}
            return desk.page(request, seat, "trouble.html", values)

        return desk.see(request, page)

    @router.post(_PATH)
    def remedy(
        request: Request,
        remedy: Annotated[Remedy, Form()],
        subject: Annotated[str, Form(max_length=100)] = "",
        to: Annotated[str, Form()] = _PATH,
        csrf: Csrf = "",
    ) -> Response:
        def act(session: Session, _seat: Seat) -> Done:
            did = remedies.apply(session, remedy, subject)
            after = "/admin/sources" if to == "/admin/sources" else _PATH
            return Done(did.act, did.subject, did.detail, to=after, ring=did.ring)

        return desk.act(request, csrf, OperatorRole.EDITOR, act)

    return router
