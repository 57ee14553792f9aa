"""Pages for everybody: days, papers, topics, search."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from service import translation
from service.matching import language, preview
from service.matching.language import QueryError
from service.papers import archive, coverage, samples
from service.papers.identity import ARXIV, DOI, TITLE
from service.papers.record import Identifier
from service.translation import gettext as _
from service.web.papers import previewing
from service.web.site import Site

_PAGE: Final = 50
_FOUND_PAGE: Final = 20
_FURTHEST_PAGE: Final = 2_000
_DAYS_PAGE: Final = 60
_ALIKE: Final = 4

PageNumber = Annotated[int, Query(ge=1, le=_FURTHEST_PAGE)]
PaperId = Annotated[int, Query(ge=1, le=2**63 - 1)]


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/")
    def front() -> HTMLResponse:
        with site.database.transaction() as session:
            newest = archive.days(session, limit=1)
        return _day(site, newest[0].day if newest else date.today(), 1, welcome=True)  # noqa: DTZ011 (only a heading)

    @router.get("/day/{day}")
    def day_page(day: date, page: PageNumber = 1) -> HTMLResponse:
        return _day(site, day, page, welcome=False)

    @router.get("/days")
    def days(before: date | None = None) -> HTMLResponse:
        with site.database.transaction() as session:
            listed = archive.days(session, limit=_DAYS_PAGE, before=before)
        older = listed[-1].day if len(listed) == _DAYS_PAGE else None
        return site.page("days.html", {"days": listed, "view": "days", "older": older, "here": "papers"})

    @router.get("/papers/{paper_id}")
    def paper_page(paper_id: int) -> Response:
        with site.database.transaction() as session:
            paper = archive.one(session, paper_id) if 0 < paper_id < 2**63 else None
            if paper is None:
                survivor = archive.survivor(session, paper_id) if 0 < paper_id < 2**63 else None
                if survivor is None:
                    raise HTTPException(404)
                return RedirectResponse(f"/papers/{survivor}", status_code=301)
            identifiers = archive.identifiers(session, paper_id)
            versions = archive.versions(session, paper_id)
        alike = site.archive.similar(paper_id, paper.title, limit=_ALIKE)
        values: dict[str, object] = {
            "paper": paper,
            "identifiers": [name for name in identifiers if name.scheme != TITLE],
            "links": _links(paper, identifiers),
            "versions": versions,
            "similar": site.cards.of(alike).values(),
            "here": "papers",
        }
        return site.page("paper.html", values)

    @router.get("/topics")
    def topics() -> HTMLResponse:
        return site.page("topics.html", {"catalogue": site.catalogue, "here": "topics"})

    @router.get("/topics/{slug}")
    def topic_page(slug: str, page: PageNumber = 1) -> HTMLResponse:
        topic = site.catalogue.find(slug)
        if topic is None:
            raise HTTPException(404)
        expression = language.parse(topic.query)
        values = {"topic": topic, "explained": language.explain(expression), "here": "topics"}
        return site.page("topic.html", values | found(site, expression, page))

    @router.get("/search")
    def search(q: str = "", page: PageNumber = 1) -> HTMLResponse:
        values: dict[str, object] = {
            "query": q, "error": None, "caret": None, "explained": None, "total": None, "notes": [],
            "here": "search",
        }  # fmt: skip
        if not q.strip():
            return site.page("search.html", values)
        try:
            expression = language.parse(q)
        except QueryError as error:
            caret = None if error.column is None or "\n" in q else f"{q}\n{' ' * error.column}^"
            return site.page("search.html", values | {"error": str(error), "caret": caret}, status=400)
        hits = found(site, expression, page)
        notes = [previewing.said(name) for name in preview.names(site.archive, expression)]
        return site.page("search.html", values | hits | {"explained": language.explain(expression), "notes": notes})

    return router


def _day(site: Site, day: date, page: int, *, welcome: bool) -> HTMLResponse:
    with site.database.transaction() as session:
        older = archive.days(session, limit=1, before=day)
        newer = archive.day_after(session, day)
        total = archive.count_of_day(session, day)
        papers = archive.of_day(session, day, limit=_PAGE, offset=(page - 1) * _PAGE)
        known = coverage.of_day(session, day)
    today = datetime.now(UTC).date()
    heading = translation.day(day)
    empty = (
        _("No papers yet. The sources are read once an hour.") if welcome else _("No papers were listed on this day.")
    )
    values = {
        "day": day,
        "heading": heading,
        "papers": papers,
        "page": page,
        "pages": -(-total // _PAGE),
        "older": older[0].day if older else None,
        "newer": newer,
        "welcome": welcome,
        "view": "day",
        "samples": bool(papers) and all((paper.url or "").startswith(samples.ORIGIN) for paper in papers),
        "empty": empty,
        # Beside papers only what is lacking is of interest.
        "coverage": [coverage.explained(each, today) for each in known if not papers or not each.read_to_end],
        "wording": site.wording,
        "here": "papers",
    }
    return site.page("day.html", values, status=200 if papers or welcome or known else 404)


def found(site: Site, expression: language.Expression, page: int) -> dict[str, object]:
    """One page of what a query finds, as the templates of lists want it."""
    hits = site.archive.search(expression, limit=_FOUND_PAGE, offset=(page - 1) * _FOUND_PAGE)
    return {
        "cards": site.cards.of(hits.paper_ids).values(),
        "total": hits.total,
        "page": page,
        "pages": -(-hits.total // _FOUND_PAGE),
    }


def _links(paper: archive.PaperView, identifiers: list[Identifier]) -> list[dict[str, str]]:
    links = {
        _("Source"): paper.url,
        "PDF": paper.pdf_url,
        _("Code"): paper.code_url,
        _("Project"): paper.project_url,
    }
    for name in identifiers:
        if name.scheme == ARXIV:
            links |= {"arXiv": f"https://arxiv.org/abs/{name.value}", "PDF": f"https://arxiv.org/pdf/{name.value}"}
            if paper.featured_on is not None:
                links[_("Discussion")] = f"https://huggingface.co/papers/{name.value}"
        elif name.scheme == DOI:
            links["DOI"] = f"https://doi.org/{quote(name.value, safe='/:;().')}"
    shown: dict[str, str] = {}
    for label, url in links.items():
        if url and url not in shown.values():
            shown[label] = url
    return [{"label": label, "url": url} for label, url in shown.items()]
