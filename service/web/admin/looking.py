"""Any reader's digest of any day, edition, or what would come now; and a test of it to the operator's own inbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.database.tables import OperatorRole
from service.digests import trial
from service.digests.dry_run import DryRun, NothingToShow, Shown
from service.digests.trial import TrialError
from service.doorbell import Task
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.subscribers.interests import MOST, InterestError
from service.web.admin.desk import Csrf, Desk, Done, Refused
from service.web.postbox import MAIL_POLICY

_PATH: Final = "/admin/look"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose digest, of when: as typed, all of it optional."""

    reader: str = ""
    day: str = ""
    edition: str = ""
    digest: str = ""
    topic: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reader or self.digest or self.topic)

    def address(self, path: str = _PATH) -> str:
        """Holds ids and slugs, no mail address."""
        fields = {"reader": self.reader, "day": self.day, "edition": self.edition, "digest": self.digest}
        words = {name: value for name, value in fields.items() if value}
        return f"{path}?{urlencode([*words.items(), *(('topic', slug) for slug in self.topic)])}"

    def __str__(self) -> str:
        parts = [
            f"{name} {value}"
            for name, value in (
                ("digest", self.digest),
                ("reader", self.reader),
                ("topics", " ".join(self.topic)),
                ("edition", self.edition),
                ("day", self.day),
            )
            if value
        ]
        return ", ".join(parts)


def _asked(reader: str, day: str, edition: str, digest: str, topic: list[str] | None) -> Asked:
    reader, day, edition, digest = (each.replace("\x00", "").strip()[:64] for each in (reader, day, edition, digest))
    return Asked(reader, day, edition, digest, tuple(each.replace("\x00", "")[:64] for each in topic or ()))


def _addressed(
    reader: str = "",
    day: str = "",
    edition: str = "",
    digest: str = "",
    topic: Annotated[list[str] | None, Query()] = None,
) -> Asked:
    return _asked(reader, day, edition, digest, topic)


Addressed = Annotated[Asked, Depends(_addressed)]
"""As the query of an address says it."""


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    def shown(asked: Asked) -> Shown:
        """Raises NothingToShow and InterestError."""
        look = DryRun(desk.site.database, desk.site.settings)
        edition = _number(asked.edition, "edition", 9) if asked.edition else None
        if asked.digest:
            return look.stored(_number(asked.digest, "digest"))
        if asked.topic:
            return look.of_topics(asked.topic[:MOST], edition_id=edition)
        reader = _number(asked.reader, "reader")
        if edition is not None:
            return look.of_edition(reader, edition)
        return look.of_day(reader, _day(asked.day)) if asked.day else look.now(reader)

    def looked(request: Request, asked: Asked, made: Callable[[Seat, Shown | None, str], Response]) -> Response:
        def page(seat: Seat) -> Response:
            try:
                return made(seat, shown(asked) if asked else None, "")
            except (NothingToShow, InterestError) as error:
                return made(seat, None, str(error))

        return desk.see(request, page)

    @router.get(_PATH)
    def look(request: Request, asked: Addressed) -> Response:
        def page(seat: Seat, found: Shown | None, error: str) -> Response:
            values = {
                "asked": asked,
                "shown": found,
                "error": error,
                "groups": desk.site.catalogue.groups,
                "inside": asked.address(f"{_PATH}/html"),
                "prefix": trial.PREFIX,
            }
            return desk.page(request, seat, "look.html", values, status=404 if error else 200)

        return looked(request, asked, page)

    @router.get(f"{_PATH}/html")
    def inside(request: Request, asked: Addressed) -> Response:
        """What stands in the frame: the mail's own styles apply, nothing loads or runs."""

        def page(_seat: Seat, found: Shown | None, error: str) -> Response:
            content = found.mail.html if found else ""
            return HTMLResponse(
                content, 404 if error or not content else 200, headers={"Content-Security-Policy": MAIL_POLICY}
            )

        return looked(request, asked, page)

    @router.post(f"{_PATH}/test")
    def test(
        request: Request,
        csrf: Csrf = "",
        reader: Annotated[str, Form()] = "",
        day: Annotated[str, Form()] = "",
        edition: Annotated[str, Form()] = "",
        digest: Annotated[str, Form()] = "",
        topic: Annotated[list[str] | None, Form()] = None,
    ) -> Response:
        asked = _asked(reader, day, edition, digest, topic)

        def act(session: Session, seat: Seat) -> Done:
            try:
                delivery = trial.send(session, desk.site.settings, seat.email, shown(asked))
            except (NothingToShow, InterestError, TrialError) as error:
                raise Refused(str(error)) from error
            return Done(Act.TEST_SENT, f"delivery {delivery}", str(asked), to=asked.address(), ring=Task.SEND_DUE)

        return desk.act(request, csrf, OperatorRole.EDITOR, act)

    return router


def _number(text: str, what: str, digits: int = 18) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise NothingToShow(f"“{text}” is no id of a {what}: it is a number, as its page and the log show it")
    return int(text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise NothingToShow(f"“{text}” is no day: write it like 2026-01-31") from None
