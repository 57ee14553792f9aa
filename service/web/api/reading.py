"""Papers and search."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from service.matching import language
from service.papers import announced
from service.web.api.pages import Cursor, Limit, follow, position
from service.web.api.shapes import FoundOut, PaperOut, PapersOut
from service.web.site import Site

_FURTHEST = 100_000
_KEPT = "public, max-age=60"


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["papers"])
    origin = site.settings.origin

    @router.get("/papers")
    def list_papers(
        request: Request,
        response: Response,
        day: Annotated[date | None, Query(description="Listed on this day.")] = None,
        edition: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PapersOut:
        """Papers in the order in which they came, of one day or edition if named."""
        after = position("papers", cursor) or 0
        with site.database.transaction() as session:
            found = announced.after(session, after, limit + 1, day=day, edition=edition)
        shown = found[:limit]
        last = shown[-1].paper.id if len(found) > limit else None
        response.headers["Cache-Control"] = _KEPT
        return PapersOut(
            papers=[PaperOut.of(each, origin) for each in shown], next=follow(site, request, response, "papers", last)
        )

    @router.get("/papers/{paper_id}")
    def one_paper(response: Response, paper_id: int) -> PaperOut:
        """One paper."""
        with site.database.transaction() as session:
            found = announced.by_ids(session, [paper_id] if 0 < paper_id < 2**63 else [])
        if not found:
            raise HTTPException(404, f"there is no paper {paper_id}")
        response.headers["Cache-Control"] = _KEPT
        return PaperOut.of(found[0], origin)

    @router.get("/search")
    def search(
        request: Request,
        response: Response,
        q: Annotated[str, Query(min_length=1, max_length=2_000, description="In the query language.")],
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> FoundOut:
        """Papers that match a query, the last listed first."""
        offset = position("search", cursor) or 0
        if offset > _FURTHEST:
            raise HTTPException(400, f"a search shows its first {_FURTHEST} papers: narrow the query")
        expression = language.parse(q)
        found = site.archive.search(expression, limit=limit, offset=offset)
        with site.database.transaction() as session:
            papers = announced.by_ids(session, found.paper_ids)
        end = offset + limit
        following = end if end < found.total and end <= _FURTHEST else None
        response.headers["Cache-Control"] = _KEPT
        return FoundOut(
            total=found.total,
            explained=language.explain(expression),
            papers=[PaperOut.of(each, origin) for each in papers],
            next=follow(site, request, response, "search", following),
        )

    return router
