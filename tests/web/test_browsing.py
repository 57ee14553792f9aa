"""Weeks, months, what everybody reads, editions, and the pages of names."""

from __future__ import annotations

from datetime import date, timedelta
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from lxml import html

from service.database import Database
from service.papers.identity import ARXIV
from service.papers.record import Identifier
from tests import factories
from tests.factories import TODAY

WEDNESDAY = date(2026, 7, 1)


def titles(text: str) -> list[str]:
    return [
        " ".join(each.text_content().split()) for each in html.fromstring(text).xpath("//article//h2 | //article//h3")
    ]


def test_a_week_and_a_month_show_their_papers_the_featured_first_and_lead_to_their_neighbours(
    browser: TestClient, database: Database
) -> None:
    factories.edition(
        database,
        factories.record("On Monday", listed_on=WEDNESDAY - timedelta(days=2)),
        factories.record("Featured", listed_on=WEDNESDAY, featured_on=WEDNESDAY, upvotes=3),
        factories.record("Liked", listed_on=WEDNESDAY, upvotes=9),
        factories.record("A Month Before", listed_on=WEDNESDAY - timedelta(days=30)),
    )
    week = browser.get("/week/2026-W27")
    assert titles(week.text) == ["Featured", "Liked", "On Monday"]
    assert "The week from 29 Jun to 5 Jul 2026" in week.text
    assert html.fromstring(week.text).xpath("//a[@rel='prev']/@href") == ["/week/2026-W23"]
    month = browser.get("/month/2026-07")
    assert titles(month.text) == ["Featured", "Liked"]
    assert "July 2026" in month.text
    assert titles(browser.get("/month").text) == titles(month.text)
    assert titles(browser.get("/week").text) == titles(week.text)
    assert week.headers["etag"] != month.headers["etag"]


@pytest.mark.parametrize(
    "path",
    ["/week/2026-W60", "/month/2026-13", "/month/1999-01", "/editions/7", "/authors/Nobody%20Here", "/authors/%22",
     "/organizations/Nowhere", f"/authors/{'a' * 900}"],
)  # fmt: skip
def test_what_is_not_there_is_a_404(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_trending_holds_what_was_voted_for_in_the_last_week_and_has_a_feed(
    browser: TestClient, database: Database
) -> None:
    old = TODAY - timedelta(days=12)
    factories.edition(
        database,
        factories.record("Loved", upvotes=50, listed_on=TODAY - timedelta(days=2)),
        factories.record("Found Later", upvotes=70, listed_on=old, featured_on=TODAY),
        factories.record("Old", upvotes=90, listed_on=old),
        factories.record("Nobody Voted"),
    )
    page = browser.get("/trending").text
    assert titles(page) == ["Found Later", "Loved"]
    (feed,) = html.fromstring(page).xpath("//link[@type='application/atom+xml']/@href")
    assert browser.get(feed).text.count("<entry>") == 2


def test_the_archive_of_editions_leads_to_each_with_its_papers(browser: TestClient, database: Database) -> None:
    factories.edition(database, factories.record("In the First"))
    factories.edition(database, factories.record("In the Second"))
    listed = html.fromstring(browser.get("/editions").text).xpath("//td/a/@href")
    assert listed == ["/editions/2", "/editions/1"]
    page = browser.get(listed[1])
    assert titles(page.text) == ["In the First"]
    assert html.fromstring(page.text).xpath("//a[@rel='next']/@href") == ["/editions/2"]


def test_a_name_has_a_page_that_can_be_followed_and_says_when_it_is_common(
    browser: TestClient, database: Database
) -> None:
    factories.edition(
        database,
        *(factories.record(f"By Ada {n}", authors=("Ada Inventör", "C/D Slash")) for n in range(5)),
        factories.record("By a Laboratory", authors=("Bob Bright",), organization="Example Lab"),
    )
    card = html.fromstring(browser.get("/").text)
    assert "/authors/Ada%20Invent%C3%B6r" in card.xpath("//article//a/@href")
    page = browser.get("/authors/ada%20inventor")
    tree = html.fromstring(page.text)
    assert tree.xpath("//h1")[0].text == "Ada Inventör"
    assert "likely several people" in page.text
    (follow,) = tree.xpath("//a[@class='button']/@href")
    assert 'author:"ada inventor"' in html.fromstring(browser.get(follow).text).xpath("//textarea")[0].text
    for feed in tree.xpath("//a[@class='tag']/@href"):
        assert browser.get(feed).text.count("By Ada") >= 5
    assert "By Ada 1" in browser.get(f"/authors/{quote('C/D Slash', safe='')}").text
    assert titles(browser.get("/organizations/Example%20Lab").text) == ["By a Laboratory"]
    people = browser.get("/sitemap/people.xml").text
    assert "/authors/Ada%20Invent%C3%B6r<" in people
    assert "/organizations/Example%20Lab<" in people
    assert "Bob" not in people, "who stands on one paper only is left out"


def test_a_paper_names_its_versions_its_authors_and_where_it_is_discussed(
    browser: TestClient, database: Database
) -> None:
    names = (Identifier(ARXIV, "9902.00001"), Identifier("doi", "10.1234/x"))
    for version, title in ((1, "A First Title"), (2, "A Second Title")):
        factories.edition(
            database,
            factories.record(title, identifiers=names, version=version, revision=version > 1, featured_on=TODAY,
                             code_url="https://code.example/x"),
            factories.record(),
        )  # fmt: skip
    tree = html.fromstring(browser.get("/papers/1").text)
    links = {each.text: each.get("href") for each in tree.xpath("//a[@class='button']")}
    assert links["Discussion"] == "https://huggingface.co/papers/9902.00001"
    assert links["DOI"] == "https://doi.org/10.1234/x"
    assert links["PDF"] == "https://arxiv.org/pdf/9902.00001"
    assert links["Code"] == "https://code.example/x"
    said = " ".join(tree.text_content().split())
    assert "Version 2" in said
    assert "Version 1" in said
    assert "A First Title" in said
