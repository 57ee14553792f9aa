"""Today's round as a picture, drawn anew every few seconds; and the pause of all digests."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.database.tables import OperatorRole
from service.doorbell import Task
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.outbox import digest_pause
from service.overview import today
from service.overview.today import Today
from service.web.admin.desk import PATH, Csrf, Desk, Done, Refused
from service.web.site import Site

_KEPT_SECONDS: Final = 3.0
"""However many look, the tables are asked once in so long."""


@dataclass(frozen=True, slots=True)
class Station:
    """One step of the picture."""

    name: str
    figure: int
    share: float | None
    """Done so far, 0 to 1, where that can be said."""
    said: str


def stations(view: Today) -> tuple[Station, ...]:
    """Papers in, matched, planned, sent, bounced."""
    if view.minutes_left:
        pace = f"{view.sent_lately // 5:,} a minute, about {view.minutes_left:,} min left"
    elif view.due:
        pace = f"{view.due:,} are due, none left in five minutes"
    else:
        pace = "nothing is due"
    unsent = f"{view.failed:,} failed, {view.cancelled:,} cancelled"
    return (
        Station(
            "Papers in", view.papers, None, f"{view.unedited:,} wait for the next edition; cut today: {view.editions}"
        ),
        Station(
            "Matched",
            view.matched,
            _share(view.matched, view.queries),
            f"of {view.queries:,} queries, over the newest edition of today",
        ),
        Station("Planned", view.planned, None, f"{view.readers_due:,} readers wait for theirs"),
        Station("Sent", view.sent, _share(view.settled, view.planned), f"{pace}; {unsent}"),
        Station(
            "Bounced",
            view.bounced,
            None,
            f"{view.hard_bounces:,} hard, {view.soft_bounces:,} soft; {view.complaints:,} complaints",
        ),
    )


class _Kept:
    """The last picture, for a moment."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._turn = threading.Lock()
        self._held: tuple[float, Today] | None = None

    def view(self) -> Today:
        with self._turn:
            if self._held is None or self._held[0] < time.monotonic():
                view = today.today(self._site.database)
                self._held = (time.monotonic() + _KEPT_SECONDS, view)
            return self._held[1]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    kept = _Kept(desk.site)

    def shown(request: Request, seat: Seat, template: str) -> Response:
        view = kept.view()
        with desk.site.database.transaction() as session:
            paused = digest_pause.current(session)
        values = {"view": view, "stations": stations(view), "paused": paused}
        return desk.page(request, seat, template, values)

    @router.get(PATH)
    def picture(request: Request) -> Response:
        return desk.see(request, lambda seat: shown(request, seat, "today.html"))

    @router.get(f"{PATH}/picture")
    def picture_alone(request: Request) -> Response:
        return desk.see(request, lambda seat: shown(request, seat, "picture.html"))

    @router.post(f"{PATH}/pause")
    def pause(request: Request, csrf: Csrf = "") -> Response:
        def act(session: Session, seat: Seat) -> Done:
            if not digest_pause.begin(session, seat.operator_id):
                raise Refused("all digests are paused already")
            return Done(Act.DIGESTS_PAUSED, "", "other mail still goes out", to=PATH)

        return desk.act(request, csrf, OperatorRole.OWNER, act)

    @router.post(f"{PATH}/resume")
    def resume(request: Request, csrf: Csrf = "") -> Response:
        def act(session: Session, _seat: Seat) -> Done:
            if not digest_pause.end(session):
                raise Refused("no pause stands")
            return Done(Act.DIGESTS_RESUMED, "", "", to=PATH, ring=Task.SEND_DUE)

        return desk.act(request, csrf, OperatorRole.OWNER, act)

    return router


def _share(done: int, whole: int) -> float | None:
    return min(done / whole, 1.0) if whole else None
