"""Feeds, read by the reader that the world uses (feedparser)."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

import feedparser
import pytest
from fastapi.testclient import TestClient
from lxml import etree
from sqlalchemy import select

from service.database import Database
from service.database.tables import Digest, Paper
from service.settings import Settings
from service.subscribers import access
from tests import factories

HOSTILE = "<script>alert(1)</script> & ]]> “Ünïcode” a < b"
FORMATS = ("atom", "rss", "json")
ADDRESSES = ("/feeds/papers.{}", "/feeds/topics/arxiv:cs.CL.{}", "/feeds/search.{}?q=robot")


@pytest.fixture(autouse=True)
def papers(database: Database) -> None:
    factories.edition(
        database,
        factories.record(f"Robots {HOSTILE}", abstract=f"About robots. {HOSTILE}", authors=("Ada Löv", "B & C")),
        factories.record("More Robots", authors=(), author_count=0, abstract=""),
    )


@pytest.mark.parametrize("form", ["atom", "rss"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_atom_and_rss_are_well_formed_with_stable_ids_right_dates_and_text_as_text(
    browser: TestClient, database: Database, address: str, form: str
) -> None:
    answer = browser.get(address.format(form))
    assert answer.status_code == 200
    parsed = feedparser.parse(answer.content, sanitize_html=False, resolve_relative_uris=False)
    assert not parsed.bozo, parsed.get("bozo_exception")
    assert parsed.version == {"atom": "atom10", "rss": "rss20"}[form]
    with database.transaction() as session:
        rows = {row.id: row for row in session.scalars(select(Paper))}
    entries = {entry.id: entry for entry in parsed.entries}
    assert entries.keys() == {f"https://papers.example/papers/{each}" for each in rows}
    hostile = entries["https://papers.example/papers/1"]
    assert hostile.link == hostile.id
    assert "alert(1)" in hostile.title
    published = datetime.fromtimestamp(calendar.timegm(hostile.published_parsed), UTC)
    assert abs((published - rows[1].first_seen_at).total_seconds()) < 1
    assert parsed.feed.title


@pytest.mark.parametrize("address", ADDRESSES)
def test_atom_has_what_rfc_4287_asks_for(browser: TestClient, address: str) -> None:
    root = etree.fromstring(browser.get(address.format("atom")).content)
    spaces = {"a": "http://www.w3.org/2005/Atom"}
    for scope in (root, *root.xpath("a:entry", namespaces=spaces)):
        for name in ("id", "title", "updated"):
            assert len(scope.xpath(f"a:{name}", namespaces=spaces)) == 1, name
    assert root.xpath("a:link[@rel='self']/@href", namespaces=spaces) == [
        "https://papers.example" + address.format("atom")
    ]
    assert root.xpath("a:author/a:name", namespaces=spaces), "entries without names have the feed's author"


@pytest.mark.parametrize("address", ADDRESSES)
def test_json_feed_has_what_version_1_1_asks_for(browser: TestClient, address: str) -> None:
    answer = browser.get(address.format("json"))
    assert answer.headers["content-type"] == "application/feed+json"
    feed = answer.json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["feed_url"] == "https://papers.example" + address.format("json")
    assert len(feed["items"]) == 2
    for item in feed["items"]:
        assert item["id"] == item["url"]
        assert item["content_text"]
        assert datetime.fromisoformat(item["date_modified"]).tzinfo is not None


def test_an_empty_feed_is_a_feed(browser: TestClient) -> None:
    for form in ("atom", "rss"):
        parsed = feedparser.parse(browser.get(f"/feeds/search.{form}?q=nothinglikethis").content)
        assert (parsed.bozo, parsed.entries) == (False, [])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/feeds/papers.xml", 404),
        ("/feeds/topics/none.atom", 404),
        ("/feeds/topics/music", 404),
        ("/feeds/search.atom", 422),
        ("/feeds/search.atom?q=(", 400),
        ("/feeds/mine/x.atom", 404),
    ],
)
def test_what_is_no_feed_says_so(browser: TestClient, path: str, status: int) -> None:
    assert browser.get(path).status_code == status


def test_a_personal_feed_holds_the_digests_papers_until_its_address_is_rotated(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    other = factories.reader(database, settings, queries=["robots"])
    with database.transaction() as session:
        session.add(
            Digest(
                reader_id=reader, slot=datetime.now(UTC), first_edition_id=1, last_edition_id=1, paper_ids=[2],
                reason_papers=[], reason_queries=[], matched=1,
            )
        )  # fmt: skip
        token, others = (access.feed_token(session, settings, each) for each in (reader, other))
        assert access.feed_token(session, settings, reader) == token, "the address is lasting"
    for form in FORMATS:
        answer = browser.get(f"/feeds/mine/{token}.{form}")
        assert answer.status_code == 200
        assert "More Robots" in answer.text
        assert "alert" not in answer.text
        assert answer.headers["cache-control"] == "no-store"
    assert "More Robots" not in browser.get(f"/feeds/mine/{others}.atom").text
    with database.transaction() as session:
        new = access.rotate_feed(session, settings, reader)
    assert browser.get(f"/feeds/mine/{token}.atom").status_code == 404
    assert browser.get(f"/feeds/mine/{new}.atom").status_code == 200
    assert browser.get(f"/feeds/mine/{others}.atom").status_code == 200
