"""Readers: found by address or id, one reader's whole story, and what an operator can do for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.database.tables import OperatorRole, ReaderState
from service.digests import resend
from service.digests.resend import ResendError
from service.doorbell import Task
from service.operators import audit
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.overview import finding, story
from service.subscribers import accounts, addresses, returned, sign_in, suppression
from service.subscribers.accounts import ReaderView
from service.web.admin.desk import Csrf, Desk, Done, Refused

_LARGEST_ID = 2**63 - 1


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_finding(router, desk)
    _add_acts(router, desk)
    return router


def _add_finding(router: APIRouter, desk: Desk) -> None:
    def listed(request: Request, seat: Seat, asked: str, state: str, after: str) -> Response:
        chosen = ReaderState(state) if state in tuple(ReaderState) else None
        with desk.site.database.transaction() as session:
            page = finding.find(session, asked, state=chosen, after=_number(after) or 0)
        values = {"asked": asked, "state": state, "states": list(ReaderState), "page": page}
        return desk.page(request, seat, "readers.html", values)

    @router.get("/admin/readers")
    def everybody(request: Request) -> Response:
        return desk.see(request, lambda seat: listed(request, seat, "", "", ""))

    @router.post("/admin/readers")
    def found(
        request: Request,
        csrf: Csrf = "",
        asked: Annotated[str, Form()] = "",
        state: Annotated[str, Form()] = "",
        after: Annotated[str, Form()] = "",
    ) -> Response:
        """Posted, so that an address stands in no log; changes nothing."""
        return desk.posted(
            request, csrf, OperatorRole.VIEWER, lambda seat: listed(request, seat, asked[:320], state, after)
        )

    @router.get("/admin/readers/{reader_id}")
    def whole_story(request: Request, reader_id: int, more: str = "") -> Response:
        def page(seat: Seat) -> Response:
            limit = story.MOST if more else story.SHOWN
            with desk.site.database.transaction() as session:
                told = story.of(session, desk.site.settings, _known(reader_id), limit=limit)
                acts = audit.page(session, subject=f"reader {reader_id}", limit=limit)
            if told is None:
                line = "There is no such reader (any more). What was agreed to stays on record under a keyed hash."
                return desk.said(request, seat, "No such reader", line, status=404)
            return desk.page(request, seat, "reader.html", {"story": told, "reader": told.reader, "acts": acts.lines})

        return desk.see(request, page)


def _add_acts(router: APIRouter, desk: Desk) -> None:
    settings = desk.site.settings

    def act(request: Request, csrf: str, reader_id: int, does: Callable[[Session, ReaderView], Done]) -> Response:
        def done(session: Session, _seat: Seat) -> Done:
            reader = accounts.get(session, _known(reader_id))
            if reader is None:
                raise Refused("this reader is gone")
            return does(session, reader)

        return desk.act(request, csrf, OperatorRole.EDITOR, done)

    def barred(session: Session, reader: ReaderView) -> bool:
        return suppression.contains(session, addresses.hashed(settings, addresses.parse(reader.email).key))

    @router.post("/admin/readers/{reader_id}/suppress")
    def suppress(request: Request, reader_id: int, csrf: Csrf = "", why: Annotated[str, Form()] = "") -> Response:
        def does(session: Session, reader: ReaderView) -> Done:
            reason = " ".join(why.split())[:200]
            if not reason:
                raise Refused("say why, for whoever looks at this later")
            returned.suppress(session, settings, reader.email, reason)
            return Done(Act.ADDRESS_SUPPRESSED, f"reader {reader.id}", reason, to=_page(reader.id))

        return act(request, csrf, reader_id, does)

    @router.post("/admin/readers/{reader_id}/lift")
    def lift(request: Request, reader_id: int, csrf: Csrf = "") -> Response:
        def does(session: Session, reader: ReaderView) -> Done:
            if not returned.lift(session, settings, reader.email):
                raise Refused("this address is not suppressed")
            after = accounts.get(session, reader.id)
            state = after.state if after else "gone"
            return Done(Act.SUPPRESSION_LIFTED, f"reader {reader.id}", f"now {state}", to=_page(reader.id))

        return act(request, csrf, reader_id, does)

    @router.post("/admin/readers/{reader_id}/sign-out")
    def sign_out(request: Request, reader_id: int, csrf: Csrf = "") -> Response:
        def does(session: Session, reader: ReaderView) -> Done:
            sign_in.revoke(session, reader.id)
            return Done(Act.READER_SIGNED_OUT, f"reader {reader.id}", "everywhere", to=_page(reader.id))

        return act(request, csrf, reader_id, does)

    @router.post("/admin/readers/{reader_id}/sign-in-link")
    def send_link(request: Request, reader_id: int, csrf: Csrf = "") -> Response:
        def does(session: Session, reader: ReaderView) -> Done:
            if barred(session, reader):
                raise Refused("the address is suppressed: lift that first, if it may be mailed")
            if not sign_in.request(session, settings, reader.id):
                raise Refused("none is sent to an address that was never confirmed, nor two within ten minutes")
            return Done(Act.SIGN_IN_LINK_SENT, f"reader {reader.id}", "", to=_page(reader.id), ring=Task.SEND_DUE)

        return act(request, csrf, reader_id, does)

    @router.post("/admin/readers/{reader_id}/resend")
    def send_again(request: Request, reader_id: int, csrf: Csrf = "", digest: Annotated[str, Form()] = "") -> Response:
        def does(session: Session, reader: ReaderView) -> Done:
            try:
                delivery = resend.resend(session, settings, _number(digest) or 0, reader_id=reader.id)
            except ResendError as error:
                raise Refused(str(error)) from error
            detail = f"digest {digest} as delivery {delivery}"
            return Done(Act.DIGEST_RESENT, f"reader {reader.id}", detail, to=_page(reader.id), ring=Task.SEND_DUE)

        return act(request, csrf, reader_id, does)


def _page(reader_id: int) -> str:
    return f"/admin/readers/{reader_id}"


def _known(reader_id: int) -> int:
    if not 0 < reader_id <= _LARGEST_ID:
        raise HTTPException(404)
    return reader_id


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
