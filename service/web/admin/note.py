"""The editor's note: a few words on top of the next digests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from service.database.tables import OperatorRole
from service.digests import notes
from service.mails import note
from service.mails.note import NoteError, Paragraph
from service.operators import audit
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.web.admin.desk import Csrf, Desk, Done, Refused

_PATH: Final = "/admin/note"


@dataclass(frozen=True, slots=True)
class Typed:
    """The form, as it was sent."""

    words: str = ""
    when: str = "next"
    first: str = ""
    last: str = ""

    def days(self) -> tuple[date, date] | None:
        """None: everybody's next digest. Raises :class:`NoteError`."""
        if self.when != "days":
            return None
        try:
            return date.fromisoformat(self.first), date.fromisoformat(self.last)
        except ValueError:
            raise NoteError("the days are not both given: write each like 2026-01-31") from None


@dataclass(frozen=True, slots=True)
class Preview:
    """A note as both parts of a mail show it."""

    page: tuple[Paragraph, ...]
    text: str


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    def form(request: Request, seat: Seat, typed: Typed, preview: Preview | None = None, error: str = "") -> Response:
        with desk.site.database.transaction() as session:
            known = notes.listing(session)
        now = datetime.now(UTC)
        over = {each.id for each in known if each.is_over(now)}
        values = {
            "typed": typed, "preview": preview, "error": error, "notes": known, "over": over, "longest": note.LONGEST,
        }  # fmt: skip
        return desk.page(request, seat, "note.html", values, status=400 if error else 200)

    @router.get(_PATH)
    def page(request: Request) -> Response:
        return desk.see(request, lambda seat: form(request, seat, Typed()))

    @router.post(_PATH)
    def save(
        request: Request,
        csrf: Csrf = "",
        words: Annotated[str, Form()] = "",
        when: Annotated[str, Form()] = "next",
        first: Annotated[str, Form()] = "",
        last: Annotated[str, Form()] = "",
        only: Annotated[str, Form()] = "",
    ) -> Response:
        """Saves, or shows the note as mails will (``only``)."""
        typed = Typed(words, when, first, last)

        def handle(seat: Seat) -> Response:
            try:
                days = typed.days()
                if only:
                    tidy = note.check(words)
                    return form(request, seat, typed, Preview(note.paragraphs(tidy), note.plain(tidy)))
                with desk.site.database.transaction() as session:
                    made = notes.save(session, words, days=days)
                    said = f"{days[0]} to {days[1]}" if days else "everybody's next digest"
                    detail = f"{said}: {made.words}"
                    line = audit.record(session, seat.operator_id, Act.NOTE_SAVED, f"note {made.id}", detail)
            except NoteError as error:
                return form(request, seat, typed, error=str(error))
            return RedirectResponse(f"{_PATH}?done={line}", 303)

        return desk.posted(request, csrf, OperatorRole.EDITOR, handle)

    @router.post(f"{_PATH}/withdraw")
    def withdraw(request: Request, csrf: Csrf = "", note_id: Annotated[str, Form()] = "") -> Response:
        def act(session: Session, _seat: Seat) -> Done:
            try:
                known = note_id.isascii() and note_id.isdigit() and len(note_id) < 10
                gone = notes.withdraw(session, int(note_id) if known else 0)
            except NoteError as error:
                raise Refused(str(error)) from error
            return Done(Act.NOTE_WITHDRAWN, f"note {gone.id}", f"digests that carry it: {gone.digests}", to=_PATH)

        return desk.act(request, csrf, OperatorRole.EDITOR, act)

    return router
