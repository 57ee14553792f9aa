"""The operators' door: a mailed link, then a code of the authenticator app. Links only show buttons; POSTs act."""

from __future__ import annotations

import hmac
import io
from typing import Annotated

import segno
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup
from starlette.responses import Response

from service.database.tables import OperatorRole
from service.doorbell import Task, doorbell
from service.operators import second_factor, sessions, sign_in
from service.operators.accounts import OperatorError
from service.operators.second_factor import SecondFactorError
from service.operators.sessions import Seat, Verdict
from service.subscribers.addresses import AddressError
from service.subscribers.tokens import ExpiredToken, Purpose, TokenError
from service.web.admin.desk import CODE, COOKIE, PATH, SIGN_IN, Csrf, Desk
from service.web.site import Site, visit

_AGAIN = (("Ask for a new link", SIGN_IN),)


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_link(router, desk.site)
    _add_code(router, desk)
    return router


def _add_link(router: APIRouter, site: Site) -> None:
    @router.get(SIGN_IN)
    def ask_form() -> HTMLResponse:
        return site.page("admin/sign_in.html", {"email": "", "errors": []})

    @router.post(SIGN_IN)
    def ask(request: Request, email: Annotated[str, Form()] = "") -> HTMLResponse:
        if not site.limits.operators_door(visit(request).ip).allowed:
            return site.message(
                "Too often", "Too many links were asked for from your network: wait an hour.", status=429
            )
        try:
            with site.database.transaction() as session:
                sign_in.request(session, site.settings, email)
        except AddressError as error:
            return site.page("admin/sign_in.html", {"email": email, "errors": [str(error)]}, status=400)
        doorbell(site.settings).ring(Task.SEND_DUE)
        # The same for every address, an operator's or not.
        mailbox = (("Open the mailbox", "/mailbox"),) if site.has_mailbox else ()
        return site.message(
            "Check your inbox",
            "If this is an operator’s address, a mail with a link is on its way to it. The link works once, for a"
            " quarter of an hour.",
            "Nothing came? Wait two minutes, then ask again; on the machine, “paperround operators link” prints one.",
            links=mailbox,
        )

    @router.get("/admin/enter/{token}")
    def button(token: str) -> HTMLResponse:
        try:
            site.links.read(Purpose.OPERATOR, token)
        except TokenError as error:
            return _invalid(site, error)
        values = {"heading": "Sign in to the dashboard", "lines": ("The link in your mail works once.",)}
        return site.page("act.html", values | {"button": "Sign in"})

    @router.post("/admin/enter/{token}")
    def enter(request: Request, token: str) -> Response:
        try:
            with site.database.transaction() as session:
                operator_id = sign_in.use(session, site.settings, token)
                agent = request.headers.get("user-agent", "")
                cookie = sessions.begin(session, site.settings, operator_id, agent)
        except (TokenError, OperatorError) as error:
            return _invalid(site, error)
        return _with_cookie(site, RedirectResponse(CODE, 303), cookie)


def _add_code(router: APIRouter, desk: Desk) -> None:
    site = desk.site

    def form(request: Request, seat: Seat, error: str = "", *, status: int = 200) -> Response:
        values = {"error": error, "square": "", "secret": ""}
        if not seat.enrolled:
            with site.database.transaction() as session:
                secret = sessions.enrolment(session, site.settings, seat)
            square = _square(second_factor.address(secret, seat.email))
            values |= {"square": square, "secret": second_factor.written(secret)}
        return desk.page(request, seat, "code.html", values, status=status)

    @router.get(CODE)
    def ask_code(request: Request) -> Response:
        seat = desk.seat(request)
        if seat is None:
            return RedirectResponse(SIGN_IN, 303)
        if seat.verified:
            return RedirectResponse(PATH, 303)
        try:
            return form(request, seat)
        except SecondFactorError as error:
            return desk.said(request, seat, "Enrol anew", f"{error}.", status=409)

    @router.post(CODE)
    def take_code(request: Request, code: Annotated[str, Form()] = "", csrf: Csrf = "") -> Response:
        seat = desk.seat(request)
        if seat is None or seat.verified:
            return RedirectResponse(SIGN_IN if seat is None else PATH, 303)
        if not hmac.compare_digest(csrf.encode(), seat.csrf.encode()):
            return form(request, seat, "This form was not of this session: enter a code once more.", status=403)
        if not site.limits.operators_door(visit(request).ip).allowed:
            return form(request, seat, "Too many tries from your network: wait an hour.", status=429)
        try:
            with site.database.transaction() as session:
                verdict, token = sessions.verify(session, site.settings, seat, code)
        except SecondFactorError as error:
            return desk.said(request, seat, "Enrol anew", f"{error}.", status=409)
        if verdict is Verdict.LOCKED:
            line = f"Too many wrong codes: none is looked at for {sessions.LOCKED.seconds // 60} minutes."
            return form(request, seat, line, status=429)
        if verdict is Verdict.WRONG:
            line = "This code is wrong, or was used before: wait for the next one. The phone's clock must be right."
            return form(request, seat, line, status=400)
        return _with_cookie(site, RedirectResponse(PATH, 303), token)

    @router.post("/admin/sign-out")
    def sign_out(request: Request, csrf: Csrf = "") -> Response:
        def end(seat: Seat) -> Response:
            with site.database.transaction() as session:
                sessions.end(session, seat.operator_id, by=seat.operator_id, session_id=seat.session_id)
            answer = RedirectResponse(SIGN_IN, 303)
            answer.delete_cookie(COOKIE, path=PATH)
            return answer

        return desk.posted(request, csrf, OperatorRole.VIEWER, end)


def _with_cookie(site: Site, answer: Response, token: str) -> Response:
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(site.settings.operator_session_hours * 3600),
        path=PATH,
        secure=site.settings.origin.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return answer


def _invalid(site: Site, error: Exception) -> HTMLResponse:
    expired = isinstance(error, ExpiredToken)
    line = str(error) if not isinstance(error, TokenError) else "The link has expired, was used, or was cut short."
    return site.message("This link does not work", line, links=_AGAIN, status=410 if expired else 404)


def _square(text: str) -> Markup:
    """A QR code as SVG; black on white whatever the page's colours, for cameras want it so."""
    drawn = io.BytesIO()
    segno.make(text, error="m").save(
        drawn, kind="svg", scale=5, border=4, dark="#000", light="#fff", xmldecl=False, svgns=True,
        title="QR code for your authenticator app", svgclass="square", lineclass=None, nl=False,
    )  # fmt: skip
    return Markup(drawn.getvalue().decode())  # noqa: S704 (drawn by segno, which escapes its title)
