"""Feeds for feed readers: Atom 1.0 (RFC 4287), RSS 2.0 and JSON Feed 1.1 of new papers, topics, queries, and one's own.

An entry's id is the address of the paper's page, the same in every feed and format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, HTTPException, Query
from feedgen.feed import FeedGenerator
from starlette.responses import Response

from service.matching import language
from service.matching.language import QueryError
from service.papers import announced, periods
from service.papers.announced import Dated
from service.subscribers import access, accounts
from service.subscribers.tokens import TokenError
from service.web.serving.address import FORMATS
from service.web.site import Site

_ENTRIES: Final = 50
_DIGESTS: Final = 14
_BEFORE_ANY: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When an empty feed last changed."""


@dataclass(frozen=True, slots=True)
class Feed:
    title: str
    description: str
    page_url: str
    feed_url: str
    entries: Sequence[Dated]

    @property
    def updated(self) -> datetime:
        return max((each.updated_at for each in self.entries), default=_BEFORE_ANY)


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    origin = site.settings.origin

    @router.get("/feeds/papers.{form}")
    def papers(form: str) -> Response:
        _known(form)
        with site.database.transaction() as session:
            entries = announced.newest(session, _ENTRIES)
        feed = Feed("New papers", "The newest papers", f"{origin}/", f"{origin}/feeds/papers.{form}", entries)
        return rendered(feed, form, origin)

    @router.get("/feeds/trending.{form}")
    def trending(form: str) -> Response:
        _known(form)
        with site.database.transaction() as session:
            entries = announced.by_ids(session, [paper.id for paper in periods.trending(session)])
        said = "The papers of the last seven days with the most upvotes"
        urls = f"{origin}/trending", f"{origin}/feeds/trending.{form}"
        return rendered(Feed("What everybody reads", said, *urls, entries), form, origin)

    @router.get("/feeds/topics/{name}")
    def topic(name: str) -> Response:
        slug, _, form = name.rpartition(".")
        _known(form)
        found = site.catalogue.find(slug)
        if found is None:
            raise HTTPException(404)
        path = quote(slug, safe=":")
        urls = f"{origin}/topics/{path}", f"{origin}/feeds/topics/{path}.{form}"
        return rendered(Feed(found.name, found.description, *urls, _matching(site, found.query)), form, origin)

    @router.get("/feeds/search.{form}")
    def search(form: str, q: Annotated[str, Query(min_length=1, max_length=2_000)]) -> Response:
        _known(form)
        try:
            entries = _matching(site, q)
        except QueryError as error:
            raise HTTPException(400, str(error)) from None
        tail = "?" + urlencode({"q": q})
        said = f"Papers that match {language.explain(language.parse(q))}"
        urls = f"{origin}/search{tail}", f"{origin}/feeds/search.{form}{tail}"
        return rendered(Feed(f"Search: {q}", said, *urls, entries), form, origin)

    @router.get("/feeds/mine/{name}")
    def mine(name: str) -> Response:
        token, _, form = name.rpartition(".")
        _known(form)
        with site.database.transaction() as session:
            try:
                reader_id = access.feed_reader(session, site.settings, token)
            except TokenError:
                raise HTTPException(404) from None
            if accounts.get(session, reader_id) is None:
                raise HTTPException(404)
            matched = access.digested(session, reader_id, limit=_DIGESTS)
            entries = announced.by_ids(session, [paper for paper, _ in matched][:_ENTRIES])
        feed = Feed(
            "My papers", "The papers of my digests", f"{origin}/account/papers", f"{origin}/feeds/mine/{name}", entries
        )
        return rendered(feed, form, origin)

    return router


def rendered(feed: Feed, form: str, origin: str) -> Response:
    """A feed in one of the :data:`FORMATS`."""
    body = _WRITERS[form](feed, origin)
    return Response(body, media_type=f"{FORMATS[form]}; charset=utf-8" if form != "json" else FORMATS[form])


def _matching(site: Site, query: str) -> list[Dated]:
    found = site.archive.search(language.parse(query), limit=_ENTRIES)
    with site.database.transaction() as session:
        return announced.by_ids(session, found.paper_ids)


def _known(form: str) -> None:
    if form not in FORMATS:
        raise HTTPException(404)


def _summary(each: Dated) -> str:
    return each.paper.tldr or each.paper.abstract


def _page(each: Dated, origin: str) -> str:
    return f"{origin}/papers/{each.paper.id}"


def _generator(feed: Feed, origin: str) -> FeedGenerator:
    made = FeedGenerator()
    made.id(feed.feed_url)
    made.title(feed.title)
    made.description(feed.description)
    made.link(href=feed.feed_url, rel="self")
    made.link(href=feed.page_url, rel="alternate")
    made.updated(feed.updated)
    made.pubDate(feed.updated)
    made.lastBuildDate(feed.updated)
    made.author(name="Paperround")
    made.generator("Paperround")
    made.language("en")
    for each in feed.entries:
        paper = each.paper
        entry = made.add_entry(order="append")
        entry.id(_page(each, origin))
        entry.guid(_page(each, origin), permalink=True)
        entry.link(href=_page(each, origin), rel="alternate")
        entry.title(paper.title)
        entry.summary(_summary(each) or paper.title)
        entry.published(each.first_seen_at)
        entry.updated(each.updated_at)
        # An entry without names has an author all the same (RFC 4287, 4.1.1): the feed's.
        names = paper.authors or ((paper.organization,) if paper.organization else ())
        entry.author([{"name": name} for name in names])
        for category in paper.categories:
            entry.category(term=category)
    return made


def _atom(feed: Feed, origin: str) -> bytes:
    return bytes(_generator(feed, origin).atom_str())


def _rss(feed: Feed, origin: str) -> bytes:
    # RSS's author is a mail address; names go where Dublin Core has a place for them.
    made = _generator(feed, origin)
    made.load_extension("dc", rss=True, atom=False)
    for entry, each in zip(made.entry(), feed.entries, strict=True):
        entry.dc.dc_creator(list(each.paper.authors) or None)
    return bytes(made.rss_str())


def _json(feed: Feed, origin: str) -> bytes:
    items = [
        {
            "id": _page(each, origin),
            "url": _page(each, origin),
            "title": each.paper.title,
            "content_text": each.paper.abstract or each.paper.title,
            "date_published": each.first_seen_at.isoformat(),
            "date_modified": each.updated_at.isoformat(),
            "authors": [{"name": name} for name in each.paper.authors],
            "tags": list(each.paper.categories),
        }
        | ({"summary": each.paper.tldr} if each.paper.tldr else {})
        | ({"external_url": each.paper.url} if each.paper.url else {})
        for each in feed.entries
    ]
    content = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": feed.title,
        "description": feed.description,
        "home_page_url": feed.page_url,
        "feed_url": feed.feed_url,
        "language": "en",
        "items": items,
    }
    return orjson.dumps(content)


_WRITERS: Final[dict[str, Callable[[Feed, str], bytes]]] = {"atom": _atom, "rss": _rss, "json": _json}
