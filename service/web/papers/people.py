"""Who wrote it: a page for every author's name and every organization that stands on a paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse

from service.matching import language, normalise, preview
from service.matching.expression import Exact, Expression, Text
from service.matching.language import QueryError
from service.papers import archive
from service.papers.archive import PaperView
from service.web.papers import pages, previewing
from service.web.papers.pages import PageNumber
from service.web.serving.address import named
from service.web.site import Site

LONGEST: Final = 300
"""Characters of what finds a name."""


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/authors/{name:path}")
    def author(name: str, page: PageNumber = 1) -> HTMLResponse:
        typed = named("author", name)
        expression = _understood(typed)
        if not isinstance(expression, Exact):
            raise HTTPException(404)
        found = pages.found(site, expression, page)
        shown = _as_written(_first(site, expression), expression.value) or name
        notes = [previewing.said(replace(each, name=shown)) for each in preview.names(site.archive, expression)]
        return _page(site, shown, f"/authors/{quote(name, safe='')}", typed, found, notes)

    @router.get("/organizations/{name:path}")
    def organization(name: str, page: PageNumber = 1) -> HTMLResponse:
        typed = named("org", name)
        expression = _understood(typed)
        if not isinstance(expression, Text):
            raise HTTPException(404)
        return _page(
            site, name, f"/organizations/{quote(name, safe='')}", typed, pages.found(site, expression, page), []
        )

    return router


def _understood(typed: str) -> Expression | None:
    try:
        return language.parse(typed) if len(typed) <= LONGEST else None
    except QueryError:
        return None


def _first(site: Site, expression: Expression) -> PaperView | None:
    ids = site.archive.search(expression, limit=1).paper_ids
    with site.database.transaction() as session:
        return next(iter(archive.by_ids(session, ids).values()), None)


def _as_written(paper: PaperView | None, folded: str) -> str | None:
    """The name as a paper has it: an address may be written in small letters."""
    return next((each for each in paper.authors if normalise.name(each) == folded), None) if paper else None


def _page(site: Site, name: str, path: str, typed: str, found: dict[str, object], notes: list[str]) -> HTMLResponse:
    if not found["total"]:
        # The same for a name that stands nowhere: there are more of these than of any other address.
        raise HTTPException(404)
    return site.page("person.html", {"name": name, "path": path, "query": typed, "notes": notes, "here": ""} | found)
