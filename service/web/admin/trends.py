"""Growth, deliveries, bounces and complaints over weeks, as charts; and what sources brought."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from service.operators.sessions import Seat
from service.overview import days
from service.papers import coverage
from service.papers.coverage import LONGEST_LOOK_BACK, SourceDay
from service.web.admin import drawing
from service.web.admin.desk import Desk
from service.web.admin.drawing import Series

_SPANS = (30, 90)
_SOURCE_DAYS = 14


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/admin/trends")
    def trends(request: Request, span: str = "30") -> Response:
        def page(seat: Seat) -> Response:
            count = int(span) if span in map(str, _SPANS) else _SPANS[0]
            found = days.last(desk.site.database, count)
            values = {"charts": _charts(found), "days": found[::-1], "span": count, "spans": _SPANS}
            return desk.page(request, seat, "trends.html", values | {"size": (drawing.WIDTH, drawing.HEIGHT)})

        return desk.see(request, page)

    @router.get("/admin/sources")
    def sources(request: Request) -> Response:
        def page(seat: Seat) -> Response:
            with desk.site.database.transaction() as session:
                known = coverage.listing(session, _SOURCE_DAYS)
                again = coverage.asked_again(session)
                late = coverage.overdue(session, desk.site.settings.look_back_days)
            today = datetime.now(UTC).date()
            by_day: dict[str, dict[str, SourceDay]] = {}
            for each in known:
                by_day.setdefault(each.day.isoformat(), {})[each.source] = each
            values = {
                "names": sorted({each.source for each in known}),
                "days": [str(today - timedelta(days=n)) for n in range(_SOURCE_DAYS)],
                "known": by_day,
                "late": late,
                "again": {f"{source} {day}" for source, day in again},
                "furthest": (today - LONGEST_LOOK_BACK).isoformat(),
            }
            return desk.page(request, seat, "sources.html", values)

        return desk.see(request, page)

    return router


def _charts(found: list[days.Day]) -> tuple[drawing.Chart, ...]:
    at = [each.day for each in found]

    def series(label: str, colour: str, name: str) -> Series:
        return Series(label, colour, [getattr(each, name) for each in found])

    return (
        drawing.line("Readers", at, series("active", "fill", "active")),
        drawing.bars("Joined and left", at, series("joined", "fill", "joined"), series("left", "fill2", "left")),
        drawing.bars("Digests", at, series("sent", "fill", "sent"), series("failed", "fill-bad", "failed")),
        drawing.bars(
            "What came back",
            at,
            series("bounced", "fill2", "bounced"),
            series("complaints", "fill-bad", "complaints"),
        ),
        drawing.bars("Papers in editions", at, series("papers", "fill", "papers")),
    )
