"""Topics and editions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response

from service.papers import announced
from service.web.api.pages import Cursor, Limit, follow, position
from service.web.api.shapes import EditionOut, EditionsOut, TopicOut, TopicsOut
from service.web.site import Site


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["catalogue"])

    @router.get("/topics")
    def list_topics() -> TopicsOut:
        """Every topic, arXiv categories last."""
        return TopicsOut(topics=[TopicOut.of(topic) for topic in site.catalogue.topics()])

    @router.get("/topics/{slug}")
    def one_topic(slug: str) -> TopicOut:
        """One topic."""
        topic = site.catalogue.find(slug)
        if topic is None:
            raise HTTPException(404, "there is no such topic: /topics lists them all")
        return TopicOut.of(topic)

    @router.get("/editions")
    def list_editions(request: Request, response: Response, limit: Limit = 50, cursor: Cursor = None) -> EditionsOut:
        """Editions, the newest first. Their papers: ``/papers?edition=``."""
        before = position("editions", cursor)
        with site.database.transaction() as session:
            found = announced.editions(session, min(before, 2**31 - 1) if before is not None else None, limit + 1)
        last = found[limit - 1].id if len(found) > limit else None
        return EditionsOut(
            editions=[EditionOut.of(each) for each in found[:limit]],
            next=follow(site, request, response, "editions", last),
        )

    @router.get("/editions/{edition_id}")
    def one_edition(edition_id: Annotated[int, Path(ge=1, le=2**31 - 1)]) -> EditionOut:
        """One edition."""
        with site.database.transaction() as session:
            found = announced.edition(session, edition_id)
        if found is None:
            raise HTTPException(404, f"there is no edition {edition_id}")
        return EditionOut.of(found)

    return router
