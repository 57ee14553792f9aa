"""Operators, their sessions and passkeys: one's own for everybody, everybody's for owners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from service.database.tables import OperatorRole
from service.operators import accounts, passkeys, sessions
from service.operators.sessions import Seat
from service.web.admin.desk import OWN, Csrf, Desk

_ALL = "/admin/operators"
Number = Annotated[int, Form(ge=1, le=2**63 - 1)]
_Act = Callable[[Session, Seat], None]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    site = desk.site

    @router.get(OWN)
    def own(request: Request) -> Response:
        def page(seat: Seat) -> Response:
            with site.database.transaction() as session:
                values = {
                    "sessions": sessions.listing(session, site.settings, seat.operator_id),
                    "passkeys": passkeys.listing(session, seat.operator_id),
                    "has_passkeys": desk.has_passkeys,
                    "longest_name": passkeys.LONGEST_NAME,
                }
            return desk.page(request, seat, "sessions.html", values)

        return desk.see(request, page)

    @router.post(f"{OWN}/end")
    def end_own(request: Request, session_id: Number, csrf: Csrf = "") -> Response:
        def end(seat: Seat) -> Response:
            with site.database.transaction() as session:
                sessions.end(session, seat.operator_id, by=seat.operator_id, session_id=session_id)
            return RedirectResponse(OWN, 303)

        return desk.posted(request, csrf, OperatorRole.VIEWER, end)

    @router.get(_ALL)
    def everybody(request: Request) -> Response:
        def page(seat: Seat) -> Response:
            with site.database.transaction() as session:
                found = accounts.listing(session, site.settings)
            return desk.page(request, seat, "operators.html", {"operators": found, "roles": list(OperatorRole)})

        return desk.see(request, page, OperatorRole.OWNER)

    def owners_act(request: Request, csrf: str, act: _Act) -> Response:
        """An act of an owner on an operator, which records itself."""

        def handle(seat: Seat) -> Response:
            try:
                with site.database.transaction() as session:
                    act(session, seat)
            except accounts.OperatorError as error:
                return desk.said(request, seat, "That is not possible", f"{error}.", status=409)
            return RedirectResponse(_ALL, 303)

        return desk.posted(request, csrf, OperatorRole.OWNER, handle)

    @router.post(f"{_ALL}/role")
    def role(request: Request, operator_id: Number, role: Annotated[OperatorRole, Form()], csrf: Csrf = "") -> Response:
        return owners_act(
            request,
            csrf,
            lambda session, seat: accounts.change_role(session, operator_id, role, by=seat.operator_id),
        )

    @router.post(f"{_ALL}/sign-out")
    def sign_out(request: Request, operator_id: Number, csrf: Csrf = "") -> Response:
        def act(session: Session, seat: Seat) -> None:
            sessions.end(session, operator_id, by=seat.operator_id)

        return owners_act(request, csrf, act)

    return router
