"""Conditional requests, compression, weight, and what search engines and feed readers are told."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from lxml import etree, html
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from service.database import Database
from service.papers import archive, ingest
from service.papers.archive import PaperView
from service.settings import Settings
from service.subscribers.topics import catalogue
from service.web.app import create_app
from service.web.site import Site
from tests import factories

DAY = f"/day/{factories.TODAY}"


@pytest.fixture
def kept(settings: Settings, database: Database) -> Iterator[TestClient]:
    """A site that looks for new papers at each request, and thinks the search index has caught up."""
    catalogue.sync(database)
    with TestClient(create_app(settings, database), base_url="https://papers.example") as client:
        yield client


def test_an_unchanged_page_is_a_304_without_a_body_and_a_changed_one_is_sent(
    kept: TestClient, database: Database
) -> None:
    factories.edition(database, factories.record("First Paper"))
    first = kept.get(DAY)
    assert first.headers["etag"].startswith('W/"')
    assert "max-age=60" in first.headers["cache-control"]
    again = kept.get(DAY, headers={"if-none-match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert "default-src 'none'" in again.headers["content-security-policy"]
    factories.edition(database, factories.record("Second Paper"))
    changed = kept.get(DAY, headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert "Second Paper" in changed.text
    assert changed.headers["etag"] != first.headers["etag"]


def test_a_page_is_made_once_for_all_who_wait_and_then_served_from_memory(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.edition(database, factories.record("A Paper"))
    catalogue.sync(database)
    made: list[str] = []
    original = Site.page

    def counted(self: Site, template: str, *args: object, **more: object) -> object:
        made.append(template)
        return original(self, template, *args, **more)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Site, "page", counted)
    app = create_app(settings.model_copy(update={"page_seconds": 30}), database)

    async def crowd() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://papers.example") as client:
            first = await asyncio.gather(*(client.get(DAY) for _ in range(20)))
            return [*first, await client.get(DAY)]

    answers = asyncio.run(crowd())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert made == ["day.html"]


def test_what_is_kept_is_served_while_the_database_is_away_and_the_rest_says_so(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.edition(database, factories.record("Walking Robots"))
    catalogue.sync(database)
    app = create_app(settings, database)
    with TestClient(app, base_url="https://papers.example") as client:
        before = {path: client.get(path) for path in ("/", DAY, "/search?q=robots")}
        with monkeypatch.context() as away:
            away.setattr(database, "engine", create_engine("postgresql+psycopg://127.0.0.1:9/nowhere"))
            away.setattr("service.matching.search._FRESH_SECONDS", 0.0)
            for path, page in before.items():
                assert client.get(path).content == page.content, path
            unchanged = client.get(DAY, headers={"if-none-match": before[DAY].headers["etag"]})
            assert unchanged.status_code == 304
            another = client.get("/search?q=walking")
            assert another.status_code == 200, "the index and the paper's card are in memory"
            assert "Walking Robots" in another.text
            assert client.get("/days").status_code == 503
        factories.edition(database, factories.record("Swimming Robots"))
        assert "Swimming Robots" in client.get(DAY).text
        assert client.get("/days").status_code == 200


def test_a_site_that_starts_while_the_database_is_away_says_so(settings: Settings) -> None:
    nowhere = Database("postgresql://127.0.0.1:9/nowhere")
    with TestClient(create_app(settings, nowhere), base_url="https://papers.example") as client:
        assert client.get(DAY).status_code == 503


def test_the_page_of_a_moment_ago_is_served_while_the_next_is_being_made(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.edition(database, factories.record("First Paper"))
    catalogue.sync(database)
    app = create_app(settings.model_copy(update={"page_seconds": 0.001}), database)
    made, go_on = threading.Event(), threading.Event()
    original = Site.page

    def slow(self: Site, *args: Any, **more: Any) -> Any:
        made.set()
        assert go_on.wait(20)
        return original(self, *args, **more)

    async def crowd() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://papers.example") as client:
            await client.get(DAY)
            monkeypatch.setattr(Site, "page", slow)
            factories.edition(database, factories.record("Second Paper"))
            first = asyncio.create_task(client.get(DAY))
            await asyncio.to_thread(made.wait, 20)
            meanwhile = [await client.get(DAY) for _ in range(3)]
            go_on.set()
            return [*meanwhile, await first, await client.get(DAY)]

    *meanwhile, first, later = asyncio.run(crowd())
    assert all("Second Paper" not in page.text for page in meanwhile)
    assert "Second Paper" in first.text
    assert later.content == first.content


def test_searches_are_made_once_and_share_the_cards_of_their_papers(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.edition(database, *(factories.record(f"Walking Robots {n}") for n in range(3)))
    catalogue.sync(database)
    app = create_app(settings.model_copy(update={"page_seconds": 30}), database)
    read: list[int] = []
    original = archive.by_ids

    def counted(session: Session, ids: Iterable[int]) -> dict[int, PaperView]:
        read.extend(ids)
        return original(session, ids)

    monkeypatch.setattr(archive, "by_ids", counted)

    async def crowd() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://papers.example") as client:
            same = await asyncio.gather(*(client.get("/search?q=robots") for _ in range(20)))
            return [*same, await client.get("/search?q=walking")]

    *same, other = asyncio.run(crowd())
    assert len({page.content for page in same}) == 1
    assert sorted(read) == [1, 2, 3]
    assert other.text.count("Walking Robots") == 3


def test_a_card_is_made_anew_when_its_paper_changes(kept: TestClient, database: Database) -> None:
    record = factories.record("Walking Robots")
    factories.edition(database, record)
    assert "In short" not in kept.get("/search?q=robots").text
    later = datetime.now(UTC) + timedelta(minutes=1)
    ingest.ingest(database, factories.Listed(replace(record, tldr="They walk.")), factories.TODAY, now=later)
    kept.app.state.site.archive._looked_at = 0.0  # type: ignore[attr-defined]  # as if some seconds had gone by
    assert "They walk." in kept.get("/search?q=robots").text


@pytest.mark.parametrize("path", ["/subscribe", "/nowhere", "/token/x", "/feeds/mine/x.atom", "/api/v1/preferences"])
def test_forms_errors_and_secret_pages_are_not_kept(kept: TestClient, path: str) -> None:
    assert "etag" not in kept.get(path).headers


def test_a_head_is_the_get_without_its_body(kept: TestClient, database: Database) -> None:
    factories.edition(database, factories.record())
    head, get = kept.head(DAY), kept.get(DAY)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == get.headers["etag"]


def test_compressed_and_plain_pages_are_kept_apart(kept: TestClient, database: Database) -> None:
    factories.edition(database, *(factories.record() for _ in range(9)))
    plain = kept.get(DAY, headers={"accept-encoding": "identity"})
    with kept.stream("GET", DAY, headers={"accept-encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert "Accept-Encoding" in answer.headers["vary"]
    assert gzip.decompress(packed) == plain.content


def test_every_day_topic_and_paper_is_in_the_sitemap(kept: TestClient, database: Database) -> None:
    yesterday = factories.TODAY - timedelta(days=1)
    factories.edition(database, factories.record(), factories.record(listed_on=yesterday))
    spaces = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}

    def addresses(path: str) -> list[str]:
        answer = kept.get(path)
        assert answer.headers["content-type"].startswith("application/xml")
        found = etree.fromstring(answer.content).xpath("//s:loc/text()", namespaces=spaces)
        return [str(each).removeprefix("https://papers.example") for each in found]

    parts = addresses("/sitemap.xml")
    assert parts == ["/sitemap/pages.xml", "/sitemap/people.xml", "/sitemap/papers-0.xml"]
    listed = [address for part in parts for address in addresses(part)]
    assert {"/", DAY, f"/day/{yesterday}", "/topics/music", "/papers/1", "/papers/2"} <= set(listed)
    assert all(kept.get(path).status_code == 200 for path in (*listed[:5], listed[-1]))
    assert kept.get("/sitemap/papers-1.xml").status_code == 404
    assert "Sitemap: https://papers.example/sitemap.xml" in kept.get("/robots.txt").text


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/?utm_source=mail", "/"),
        ("/search?page=1&q=robot+arm&x=2", "/search?q=robot+arm"),
        (f"{DAY}?page=1", DAY),
        ("/topics/arxiv:cs.CL", "/topics/arxiv:cs.CL"),
    ],
)
def test_pages_name_their_one_address_and_their_feeds(
    kept: TestClient, database: Database, path: str, canonical: str
) -> None:
    factories.edition(database, factories.record('A "quoted" <b>Title</b>'))
    tree = html.fromstring(kept.get(path).text)
    assert tree.xpath("//link[@rel='canonical']/@href") == [f"https://papers.example{canonical}"]
    assert tree.xpath("//meta[@property='og:url']/@content") == [f"https://papers.example{canonical}"]
    assert tree.xpath("//meta[@property='og:title']/@content")[0]
    feeds = tree.xpath("//link[@rel='alternate']")
    assert [feed.get("type") for feed in feeds] == [
        "application/atom+xml", "application/rss+xml", "application/feed+json",
    ]  # fmt: skip
    for feed in feeds:
        assert kept.get(feed.get("href")).status_code == 200


def test_a_paper_page_describes_itself_without_breaking_its_attributes(kept: TestClient, database: Database) -> None:
    factories.edition(database, factories.record('A "quoted" <b>Title</b>'))
    tree = html.fromstring(kept.get("/papers/1").text)
    assert tree.xpath("//meta[@property='og:title']/@content") == ['A "quoted" <b>Title</b>']
