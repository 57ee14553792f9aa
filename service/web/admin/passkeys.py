"""Passkeys of operators, enrolled and given. A browser asks for options by script, and posts what its authenticator
signed by a form, so that every answer is a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.database.tables import OperatorRole
from service.operators import ceremonies, challenges, passkeys
from service.operators.accounts import OperatorError
from service.operators.ceremonies import REMEDY, Answer, Question
from service.operators.sessions import Seat
from service.web.admin.desk import CODE, OWN, PATH, SIGN_IN, Csrf, Desk
from service.web.admin.door import code_form, with_cookie
from service.web.site import visit

_COOKIE: Final = "paperround_challenge"
_TOO_OFTEN: Final = "Too many tries from your network: wait an hour."
Number = Annotated[int, Form(ge=1, le=2**63 - 1)]
Credential = Annotated[str, Form()]
"""What the authenticator signed, as JSON."""
_Ask = Callable[[Session, Seat], Question]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_door(router, desk)
    _add_second_factor(router, desk)
    _add_own(router, desk)
    return router


def _add_door(router: APIRouter, desk: Desk) -> None:
    site = desk.site

    @router.post(f"{SIGN_IN}/passkey/ask")
    def ask(request: Request) -> Response:
        if not site.limits.operators_door(visit(request).ip).allowed:
            return PlainTextResponse(_TOO_OFTEN, 429)
        try:
            return _asked(desk, ceremonies.ask_at_the_door(site.settings))
        except OperatorError as error:
            return PlainTextResponse(f"{error}.", 409)

    @router.get(f"{SIGN_IN}/passkey")
    def again() -> Response:
        """Where a refusal stood, opened once more."""
        return RedirectResponse(SIGN_IN, 303)

    @router.post(f"{SIGN_IN}/passkey")
    def sign_in(request: Request, credential: Credential = "") -> Response:
        def form(line: str, status: int) -> Response:
            return site.page("admin/sign_in.html", desk.door_values(errors=[line]), status=status)

        if not site.limits.operators_door(visit(request).ip).allowed:
            return form(_TOO_OFTEN, 429)
        agent = request.headers.get("user-agent", "")
        try:
            with site.database.transaction() as session:
                answer = ceremonies.sign_in(session, site.settings, _challenge(request), credential, agent)
        except OperatorError as error:
            return form(f"{error}.", 409)
        if answer.refusal is not None:
            return form(_line(answer), 403)
        return _opened(desk, answer, PATH)


def _add_second_factor(router: APIRouter, desk: Desk) -> None:
    site = desk.site

    def at_the_code(request: Request, csrf: str, handle: Callable[[Seat], Response]) -> Response:
        """For who came by the link and lacks the second factor, or gives it once more."""
        seat = desk.seat(request)
        if seat is None or (seat.verified and seat.fresh):
            return RedirectResponse(SIGN_IN if seat is None else PATH, 303)
        if not desk.is_of(seat, csrf):
            return code_form(desk, request, seat, "This form was not of this session: try once more.", status=403)
        return handle(seat)

    @router.post(f"{CODE}/passkey/ask")
    def ask(request: Request, csrf: Csrf = "") -> Response:
        def act(session: Session, seat: Seat) -> Question:
            way = ceremonies.ask_to_verify if seat.enrolled else ceremonies.ask_to_enrol
            return way(session, site.settings, seat)

        return at_the_code(request, csrf, lambda seat: _question(desk, seat, act))

    @router.get(f"{CODE}/passkey")
    def again(request: Request) -> Response:
        return RedirectResponse(SIGN_IN if desk.seat(request) is None else CODE, 303)

    @router.post(f"{CODE}/passkey")
    def give(request: Request, credential: Credential = "", csrf: Csrf = "") -> Response:
        def take(seat: Seat) -> Response:
            if not site.limits.operators_door(visit(request).ip).allowed:
                return code_form(desk, request, seat, _TOO_OFTEN, status=429)
            cookie = _challenge(request)
            try:
                with site.database.transaction() as session:
                    if seat.enrolled:
                        answer = ceremonies.verify(session, site.settings, seat, cookie, credential)
                    else:
                        answer = ceremonies.enrol(session, site.settings, seat, cookie, credential, "")
            except OperatorError as error:
                return code_form(desk, request, seat, f"{error}.", status=409)
            if answer.refusal is not None:
                return code_form(desk, request, seat, _line(answer), status=403)
            return _opened(desk, answer, OWN if seat.verified else PATH)

        return at_the_code(request, csrf, take)


def _add_own(router: APIRouter, desk: Desk) -> None:
    site = desk.site

    @router.post(f"{OWN}/passkey/ask")
    def ask(request: Request, csrf: Csrf = "") -> Response:
        def act(session: Session, seat: Seat) -> Question:
            return ceremonies.ask_to_enrol(session, site.settings, seat)

        return desk.posted(request, csrf, OperatorRole.VIEWER, lambda seat: _question(desk, seat, act))

    @router.post(f"{OWN}/passkey")
    def enrol(
        request: Request, credential: Credential = "", name: Annotated[str, Form()] = "", csrf: Csrf = ""
    ) -> Response:
        def take(seat: Seat) -> Response:
            try:
                with site.database.transaction() as session:
                    answer = ceremonies.enrol(session, site.settings, seat, _challenge(request), credential, name)
            except OperatorError as error:
                return desk.said(request, seat, "That is not possible", f"{error}.", status=409)
            if answer.refusal is not None:
                return desk.said(request, seat, "That is not possible", _line(answer), status=403)
            return RedirectResponse(OWN, 303)

        return desk.posted(request, csrf, OperatorRole.VIEWER, take)

    @router.post(f"{OWN}/passkey/remove")
    def remove(request: Request, passkey_id: Number, csrf: Csrf = "") -> Response:
        def act(seat: Seat) -> Response:
            try:
                with site.database.transaction() as session:
                    passkeys.remove(session, seat, passkey_id)
            except OperatorError as error:
                return desk.said(request, seat, "That is not possible", f"{error}.", status=409)
            return RedirectResponse(OWN, 303)

        return desk.posted(request, csrf, OperatorRole.VIEWER, act)


def _question(desk: Desk, seat: Seat, ask: _Ask) -> Response:
    try:
        with desk.site.database.transaction() as session:
            question = ask(session, seat)
    except OperatorError as error:
        return PlainTextResponse(f"{error}.", 409)
    return _asked(desk, question)


def _asked(desk: Desk, question: Question) -> Response:
    answer = Response(question.options, media_type="application/json")
    answer.set_cookie(
        _COOKIE,
        question.cookie,
        max_age=int(challenges.LIFETIME.total_seconds()),
        path=PATH,
        secure=desk.site.settings.origin.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return answer


def _opened(desk: Desk, answer: Answer, to: str) -> Response:
    page = with_cookie(desk.site, RedirectResponse(to, 303), answer.token)
    page.delete_cookie(_COOKIE, path=PATH)
    return page


def _challenge(request: Request) -> str:
    return request.cookies.get(_COOKIE, "")


def _line(answer: Answer) -> str:
    refusal = answer.refusal
    return "" if refusal is None else f"This passkey was not taken: {refusal}. {REMEDY[refusal]}"
