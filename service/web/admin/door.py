"""The operators' door: a mailed link, then a code of the authenticator app or a passkey (passkeys.py). Links only show
buttons; POSTs act."""

from __future__ import annotations

import io
from typing import Annotated, Final

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
from service.web.admin.desk import CODE, COOKIE, OWN, PATH, SIGN_IN, Csrf, Desk
from service.web.site import Site, visit

APP: Final = "/admin/sessions/app"
"""Where an app for codes is set up beside passkeys."""
_AGAIN: Final = (("Ask for a new link", SIGN_IN),)


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_link(router, desk)
    _add_code(router, desk)
    return router


def _add_link(router: APIRouter, desk: Desk) -> None:
    site = desk.site

    @router.get(SIGN_IN)
    def ask_form() -> HTMLResponse:
        return site.page("admin/sign_in.html", desk.door_values())

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
            return site.page("admin/sign_in.html", desk.door_values(email=email, errors=[str(error)]), status=400)
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
        return with_cookie(site, RedirectResponse(CODE, 303), cookie)


def _add_code(router: APIRouter, desk: Desk) -> None:
    site = desk.site

    def taken(request: Request, seat: Seat, code: str, csrf: str, *, setting_up: bool) -> Response:
        def form(error: str, status: int) -> Response:
            return code_form(desk, request, seat, error, setting_up=setting_up, status=status)

        if not desk.is_of(seat, csrf):
            return form("This form was not of this session: enter a code once more.", 403)
        if not site.limits.operators_door(visit(request).ip).allowed:
            return form("Too many tries from your network: wait an hour.", 429)
        try:
            with site.database.transaction() as session:
                verdict, token = sessions.verify(session, site.settings, seat, code)
        except SecondFactorError as error:
            return desk.said(request, seat, "Enrol anew", f"{error}.", status=409)
        match verdict:
            case Verdict.TAKEN:
                return with_cookie(site, RedirectResponse(OWN if seat.verified else PATH, 303), token)
            case Verdict.LOCKED:
                minutes = sessions.LOCKED.seconds // 60
                return form(f"Too many wrong codes: none is looked at for {minutes} minutes.", 429)
            case Verdict.WRONG:
                line = "This code is wrong, or was used before: wait for the next one. The phone's clock must be right."
                return form(line, 400)
            case Verdict.NO_CODES:
                return form("No app for codes is set up: your passkey is the second factor.", 409)

    @router.get(CODE)
    def ask_code(request: Request) -> Response:
        seat = desk.seat(request)
        if seat is None:
            return RedirectResponse(SIGN_IN, 303)
        if seat.verified and seat.fresh:
            return RedirectResponse(PATH, 303)
        return code_form(desk, request, seat)

    @router.post(CODE)
    def take_code(request: Request, code: Annotated[str, Form()] = "", csrf: Csrf = "") -> Response:
        seat = desk.seat(request)
        if seat is None or (seat.verified and seat.fresh):
            return RedirectResponse(SIGN_IN if seat is None else PATH, 303)
        return taken(request, seat, code, csrf, setting_up=False)

    # Codes beside the passkeys, for who came with a passkey first.

    @router.get(APP)
    def ask_app(request: Request) -> Response:
        def page(seat: Seat) -> Response:
            if seat.codes or not seat.fresh:
                return RedirectResponse(OWN, 303)
            return code_form(desk, request, seat, setting_up=True)

        return desk.see(request, page)

    @router.post(APP)
    def take_app(request: Request, code: Annotated[str, Form()] = "", csrf: Csrf = "") -> Response:
        def page(seat: Seat) -> Response:
            if seat.codes or not seat.fresh:
                return RedirectResponse(OWN, 303)
            return taken(request, seat, code, csrf, setting_up=True)

        return desk.see(request, page)

    @router.post("/admin/sign-out")
    def sign_out(request: Request, csrf: Csrf = "") -> Response:
        def end(seat: Seat) -> Response:
            with site.database.transaction() as session:
                sessions.end(session, seat.operator_id, by=seat.operator_id, session_id=seat.session_id)
            answer = RedirectResponse(SIGN_IN, 303)
            answer.delete_cookie(COOKIE, path=PATH)
            return answer

        return desk.posted(request, csrf, OperatorRole.VIEWER, end)


def code_form(
    desk: Desk, request: Request, seat: Seat, error: str = "", *, setting_up: bool = False, status: int = 200
) -> Response:
    """The page that asks for the second factor, or sets one up where there is none, or where one asks for an app."""
    values = {
        "error": error,
        "square": "",
        "secret": "",
        "action": APP if setting_up else CODE,
        "with_code": seat.codes or setting_up or not seat.enrolled,
        "with_passkey": not setting_up and desk.has_passkeys and (seat.passkeys > 0 or not seat.enrolled),
    }
    if setting_up or not seat.enrolled:
        try:
            with desk.site.database.transaction() as session:
                secret = sessions.enrolment(session, desk.site.settings, seat)
        except SecondFactorError as problem:
            return desk.said(request, seat, "Enrol anew", f"{problem}.", status=409)
        square = _square(second_factor.address(secret, seat.email))
        values |= {"square": square, "secret": second_factor.written(secret)}
    return desk.page(request, seat, "code.html", values, status=status)


def with_cookie(site: Site, answer: Response, token: str) -> Response:
    """Who sits in this browser from now on."""
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
