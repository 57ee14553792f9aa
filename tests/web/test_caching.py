"""Conditional requests, compression, weight, and what search engines and feed readers are told."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from fastapi.testclient import TestClient
from lxml import etree, html

from service.database import Database
from service.settings import Settings
from service.subscribers import catalogue
from service.web.app import create_app
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
    page = "service.web.site.Site.page"
    from service.web.site import Site

    original = Site.page

    def counted(self: Site, template: str, *args: object, **more: object) -> object:
        made.append(template)
        return original(self, template, *args, **more)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(page, counted)
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


@pytest.mark.parametrize("path", ["/subscribe", "/nowhere", "/token/x", "/feeds/mine/x.atom", "/api/v1/preferences"])
def test_forms_errors_and_secret_pages_are_not_kept(kept: TestClient, path: str) -> None:
    assert "etag" not in kept.get(path).headers


def test_a_head_is_the_get_without_its_body(kept: TestClient, database: Database) -> None:
    factories.edition(database, factories.record())
    head, get = kept.head(DAY), kept.get(DAY)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == get.headers["etag"]


def test_a_full_day_with_style_and_script_weighs_at_most_60_kilobytes(kept: TestClient, database: Database) -> None:
    words = " ".join(f"word{number % 700}" for number in range(220))
    factories.edition(database, *(factories.record(f"Paper {n} {words[:60]}", abstract=words) for n in range(60)))
    for path in (DAY, "/", "/subscribe", "/topics"):
        sent = 0
        for each in (path, "/static/style.css", "/static/site.js", "/static/icon.svg"):
            with kept.stream("GET", each, headers={"accept-encoding": "gzip"}) as answer:
                sent += sum(len(part) for part in answer.iter_raw())
        assert sent <= 60_000, f"{path} weighs {sent}"


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
    assert parts == ["/sitemap/pages.xml", "/sitemap/papers-0.xml"]
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
