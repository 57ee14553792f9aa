"""For search engines: robots.txt (RFC 9309), and a sitemap in parts (sitemaps.org), the parts of papers streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote
from xml.sax.saxutils import escape

from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.responses import Response

from service.papers import announced, archive, periods
from service.web.papers.browsing import month, week
from service.web.serving.guard import PRIVATE
from service.web.site import Site

PART: Final = 20_000
"""Ids in one part; the format allows 50,000 addresses."""
_SCHEMA: Final = "http://www.sitemaps.org/schemas/sitemap/0.9"
_MOST_DAYS: Final = 20_000


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    origin = site.settings.origin

    @router.get("/robots.txt")
    def robots() -> PlainTextResponse:
        closed = "".join(f"Disallow: {path}\n" for path in (*PRIVATE, "/preview", "/search", "/api/"))
        return PlainTextResponse(f"User-agent: *\n{closed}\nSitemap: {origin}/sitemap.xml\n")

    @router.get("/sitemap.xml")
    def index() -> Response:
        with site.database.transaction() as session:
            largest = announced.largest_id(session)
        parts = ["pages", "people", *(f"papers-{number}" for number in range(-(-largest // PART)))]
        rows = (f"<sitemap><loc>{escape(origin)}/sitemap/{part}.xml</loc></sitemap>\n" for part in parts)
        return _xml("sitemapindex", rows)

    @router.get("/sitemap/pages.xml")
    def pages() -> Response:
        with site.database.transaction() as session:
            days = archive.days(session, limit=_MOST_DAYS)
        paths = ["/", "/days", "/trending", "/editions", "/topics", "/subscribe"]
        paths += [f"/topics/{quote(topic.slug, safe=':')}" for topic in site.catalogue.topics()]
        paths += [f"/day/{each.day}" for each in days]
        paths += dict.fromkeys(around(each.day).path for around in (week, month) for each in days)
        return _xml("urlset", (f"<url><loc>{escape(origin + path)}</loc></url>\n" for path in paths))

    @router.get("/sitemap/people.xml")
    def people() -> Response:
        """A bounded number of names: whoever stands on one paper only is found by that."""
        with site.database.transaction() as session:
            paths = [f"/authors/{quote(each, safe='')}" for each in periods.authors(session)]
            paths += [f"/organizations/{quote(each, safe='')}" for each in periods.organizations(session)]
        return _xml("urlset", (f"<url><loc>{escape(origin + path)}</loc></url>\n" for path in paths))

    @router.get("/sitemap/papers-{number}.xml")
    def papers(number: int) -> Response:
        with site.database.transaction() as session:
            largest = announced.largest_id(session)
        if not 0 <= number < -(-largest // PART):
            raise HTTPException(404)

        def rows() -> Iterator[str]:
            with site.database.transaction() as session:
                for paper, changed in announced.changes(session, number * PART + 1, (number + 1) * PART):
                    yield (
                        f"<url><loc>{escape(origin)}/papers/{paper}</loc>"
                        f"<lastmod>{changed.isoformat(timespec='seconds')}</lastmod></url>\n"
                    )

        return _xml("urlset", rows())

    return router


def _xml(root: str, rows: Iterator[str]) -> StreamingResponse:
    def lines() -> Iterator[str]:
        yield f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_SCHEMA}">\n'
        held: list[str] = []
        for row in rows:
            held.append(row)
            if len(held) == 500:
                yield "".join(held)
                held = []
        yield "".join(held) + f"</{root}>\n"

    return StreamingResponse(lines(), media_type="application/xml")
