"""A reader's own papers: what matched, to be ticked off and put aside. By the link in every mail, or signed in.

GETs only show; a POST marks and leads back to where one was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from starlette.datastructures import FormData
from starlette.responses import Response

from service.digests import matched
from service.matching import language
from service.matching.language import QueryError
from service.papers import archive
from service.papers.archive import PaperView
from service.subscribers import access, interests, marks
from service.subscribers.accounts import ReaderView
from service.subscribers.interests import InterestError
from service.subscribers.marks import Act, MarkView
from service.subscribers.tokens import Purpose
from service.translation import gettext as _
from service.web.papers.pages import PageNumber
from service.web.readers import account, named, preferences
from service.web.readers.preferences import Door
from service.web.serving.address import FORMATS
from service.web.site import Site

_PAGE: Final = 25
_LARGEST_ID: Final = 2**63 - 1
Typed = Annotated[str, Query(max_length=language.LONGEST)]


class Show(StrEnum):
    """Which of the papers."""

    ALL = "all"
    UNREAD = "unread"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class OwnPaper:
    """A paper as the list shows it."""

    paper: PaperView
    slot: datetime | None
    """Of its digest; None for one that was put aside and has none any more."""
    reasons: Sequence[str]
    mark: MarkView


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/account/papers")
    def own(request: Request, show: Show = Show.ALL, page: PageNumber = 1) -> Response:
        return account.signed_in(site, request, lambda reader: _page(site, reader, account.DOOR, show, page))

    @router.post("/account/papers")
    async def mark(request: Request, show: Show = Show.ALL, page: PageNumber = 1) -> Response:
        form = await request.form(max_fields=200)
        return await run_in_threadpool(
            account.signed_in, site, request, lambda reader: _mark(site, reader, account.DOOR, form, show, page)
        )

    @router.get("/preferences/{token}/papers")
    def own_by_link(token: str, show: Show = Show.ALL, page: PageNumber = 1) -> Response:
        door = preferences.by_link(token)
        return named.reader(site, Purpose.PREFERENCES, token, lambda reader: _page(site, reader, door, show, page))

    @router.post("/preferences/{token}/papers")
    async def mark_by_link(request: Request, token: str, show: Show = Show.ALL, page: PageNumber = 1) -> Response:
        form = await request.form(max_fields=200)
        door = preferences.by_link(token)
        return await run_in_threadpool(
            named.reader, site, Purpose.PREFERENCES, token, lambda reader: _mark(site, reader, door, form, show, page)
        )

    @router.post("/account/feed")
    def feed(request: Request, fresh: Annotated[str, Query()] = "") -> Response:
        """The addresses of the personal feed; only who is signed in gets them, as they do not end by themselves."""

        def act(reader: ReaderView) -> HTMLResponse:
            give = access.rotate_feed if fresh else access.feed_token
            with site.database.transaction() as session:
                token = give(session, site.settings, reader.id)
            base = f"{site.settings.origin}/feeds/mine/{token}"
            return site.page("feed.html", {"urls": [f"{base}.{form}" for form in FORMATS], "fresh": bool(fresh)})

        return account.signed_in(site, request, act)

    @router.get("/account/follow")
    def follow_button(request: Request, query: Typed = "") -> Response:
        def page(_reader: ReaderView) -> HTMLResponse:
            expression = language.parse(query)
            values = {"heading": query, "lines": (language.explain(expression),), "button": _("Follow it")}
            return site.page("act.html", values)

        return account.signed_in(site, request, lambda reader: _understanding(site, lambda: page(reader)))

    @router.post("/account/follow")
    def follow(request: Request, query: Typed = "") -> Response:
        """From the page of a name or a search: one interest more."""

        def act(reader: ReaderView) -> HTMLResponse:
            wishes = interests.from_queries([query])
            with site.database.transaction() as session:
                interests.add(session, reader.id, wishes)
            return site.message(
                _("You follow it"),
                _("What matches “%(label)s” comes with your next mails.", label=query),
                links=((_("Your preferences"), account.DOOR.base),),
            )

        return account.signed_in(site, request, lambda reader: _understanding(site, lambda: act(reader)))

    return router


def _understanding(site: Site, page: Callable[[], HTMLResponse]) -> HTMLResponse:
    """The page, or why the query or one interest more cannot be."""
    try:
        return page()
    except (QueryError, InterestError) as error:
        links = ((_("Your preferences"), account.DOOR.base),)
        return site.message(_("That is not possible"), str(error), links=links, status=400)


def _page(site: Site, reader: ReaderView, door: Door, show: Show, page: int) -> HTMLResponse:
    with site.database.transaction() as session:
        found = {each.paper_id: each for each in matched.lately(session, reader.id)}
        kept = marks.saved(session, reader.id)
        said = marks.of(session, reader.id, [*found, *kept])
        unread = [paper for paper in found if not said.get(paper, MarkView()).read]
        chosen = {Show.ALL: list(found), Show.UNREAD: unread, Show.SAVED: list(kept)}
        # Who ticks off the last page's papers comes back to the page before.
        pages = -(-len(chosen[show]) // _PAGE)
        page = max(1, min(page, pages))
        shown = chosen[show][(page - 1) * _PAGE : page * _PAGE]
        papers = archive.by_ids(session, shown)
    values = {
        "door": door,
        "show": show,
        "counts": {each.value: len(chosen[each]) for each in Show},
        "papers": [
            OwnPaper(
                papers[paper],
                found[paper].slot if paper in found else None,
                found[paper].reasons if paper in found else (),
                said.get(paper, MarkView()),
            )
            for paper in shown
            if paper in papers
        ],
        "page": page,
        "pages": pages,
    }
    return site.page("mine.html", values)


def _mark(site: Site, reader: ReaderView, door: Door, form: FormData, show: Show, page: int) -> HTMLResponse:
    with site.database.transaction() as session:
        for act in Act:
            wanted = _ids(form, act)
            if wanted:
                marks.mark(session, reader.id, wanted, act)
        if form.get("all"):
            marks.mark(session, reader.id, _ids(form, "shown"), Act.READ)
    back = f"{door.base}/papers?show={show}" + (f"&page={page}" if page > 1 else "")
    return HTMLResponse(status_code=303, headers={"Location": back})


def _ids(form: FormData, name: str) -> list[int]:
    """The papers that a button or the list names; at most a page of them."""
    texts = [each for each in form.getlist(name) if isinstance(each, str) and each.isascii() and each.isdigit()]
    return [number for text in texts[:_PAGE] if 0 < (number := int(text[:20])) <= _LARGEST_ID]
