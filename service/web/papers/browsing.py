"""Pages of more than a day: weeks, months, what is read most, and the editions that were cut."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import HTMLResponse

from service import translation
from service.papers import announced, archive, periods
from service.papers.archive import PaperView
from service.translation import gettext as _
from service.web.papers.pages import PageNumber
from service.web.site import Site

_PAGE: Final = 50
_EDITIONS_PAGE: Final = 60
EditionNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class Period:
    """Some days in a row, as a page names them."""

    path: str
    heading: str
    first: date
    last: date
    """Both days belong to it."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    label: str
    url: str


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/week")
    def newest_week(page: PageNumber = 1) -> HTMLResponse:
        return _period(site, week(_newest(site)), "week", page, missing=200)

    @router.get("/week/{name}")
    def week_page(name: Annotated[str, Path(pattern=r"^\d{4}-W\d{2}$")], page: PageNumber = 1) -> HTMLResponse:
        try:
            first = date.fromisocalendar(int(name[:4]), int(name[6:]), 1)
        except ValueError:
            raise HTTPException(404) from None
        return _period(site, week(first), "week", page)

    @router.get("/month")
    def newest_month(page: PageNumber = 1) -> HTMLResponse:
        return _period(site, month(_newest(site)), "month", page, missing=200)

    @router.get("/month/{name}")
    def month_page(name: Annotated[str, Path(pattern=r"^\d{4}-\d{2}$")], page: PageNumber = 1) -> HTMLResponse:
        try:
            first = date(int(name[:4]), int(name[5:]), 1)
        except ValueError:
            raise HTTPException(404) from None
        return _period(site, month(first), "month", page)

    @router.get("/trending")
    def trending() -> HTMLResponse:
        with site.database.transaction() as session:
            papers = periods.trending(session)
        heading = _("What everybody reads")
        said = _("The papers of the last seven days with the most upvotes on Daily Papers.")
        return _shown(site, "trending", heading, papers, said=said)

    @router.get("/editions")
    def editions(before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None) -> HTMLResponse:
        with site.database.transaction() as session:
            found = announced.editions(session, before, _EDITIONS_PAGE)
        older = found[-1].id if len(found) == _EDITIONS_PAGE and found[-1].id > 1 else None
        return site.page("editions.html", {"editions": found, "older": older, "view": "editions", "here": "papers"})

    @router.get("/editions/{number}")
    def edition(number: EditionNumber, page: PageNumber = 1) -> HTMLResponse:
        with site.database.transaction() as session:
            found = announced.edition(session, number)
            if found is None:
                raise HTTPException(404)
            papers = periods.of_edition(session, number, limit=_PAGE, offset=(page - 1) * _PAGE)
            newest = periods.newest_edition(session)
        return _shown(
            site,
            "editions",
            _("Edition %(number)s", number=number),
            papers,
            said=_(
                "Cut on %(day)s at %(time)s UTC. An edition never changes: every digest is made of whole editions.",
                day=translation.day(found.cut_at),
                time=f"{found.cut_at:%H:%M}",
            ),
            path=f"/editions/{number}",
            page=page,
            total=found.paper_count,
            older=_edition(number - 1) if number > 1 else None,
            newer=_edition(number + 1) if newest is not None and number < newest else None,
        )

    return router


def week(day: date) -> Period:
    """The week (ISO 8601: from Monday) in which a day lies."""
    year, number, weekday = day.isocalendar()
    first = day - timedelta(days=weekday - 1)
    last = first + timedelta(days=6)
    heading = _(
        "The week from %(first)s to %(last)s",
        first=translation.day(first, "short"),
        last=translation.day(last, "medium"),
    )
    return Period(f"/week/{year}-W{number:02d}", heading, first, last)


def month(day: date) -> Period:
    """The month in which a day lies."""
    first = day.replace(day=1)
    last = day.replace(day=monthrange(day.year, day.month)[1])
    return Period(f"/month/{day:%Y-%m}", translation.day(first, "month"), first, last)


def _newest(site: Site) -> date:
    """The last day that has papers; today where none has."""
    with site.database.transaction() as session:
        return periods.newest_day(session) or datetime.now(UTC).date()


def _period(site: Site, period: Period, kind: str, page: int, *, missing: int = 404) -> HTMLResponse:
    """``missing``: the status where nothing was listed. What the site itself links to is there, if only to say so."""
    around = week if kind == "week" else month
    with site.database.transaction() as session:
        total = periods.count_of_days(session, period.first, period.last)
        papers = periods.of_days(session, period.first, period.last, limit=_PAGE, offset=(page - 1) * _PAGE)
        older, newer = periods.day_before(session, period.first), archive.day_after(session, period.last)
    return _shown(
        site,
        kind,
        period.heading,
        papers,
        said=_("Featured papers first, then those with the most upvotes."),
        path=period.path,
        page=page,
        total=total,
        older=_neighbour(around(older)) if older else None,
        newer=_neighbour(around(newer)) if newer else None,
        missing=missing,
    )


def _neighbour(period: Period) -> Neighbour:
    return Neighbour(period.heading, period.path)


def _edition(number: int) -> Neighbour:
    return Neighbour(_("Edition %(number)s", number=number), f"/editions/{number}")


def _shown(
    site: Site,
    kind: str,
    heading: str,
    papers: Sequence[PaperView],
    *,
    said: str,
    path: str = "",
    page: int = 1,
    total: int = 0,
    older: Neighbour | None = None,
    newer: Neighbour | None = None,
    missing: int = 200,
) -> HTMLResponse:
    values = {
        "view": kind,
        "heading": heading,
        "said": said,
        "papers": papers,
        "path": path,
        "page": page,
        "pages": -(-total // _PAGE),
        "older": older,
        "newer": newer,
        "here": "papers",
    }
    return site.page("period.html", values, status=200 if papers else missing)
