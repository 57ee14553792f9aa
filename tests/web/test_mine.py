"""A reader's own papers, and interests made of papers one liked."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import select

from service.database import Database
from service.database.tables import Mark, Reader
from service.digests import plan
from service.papers import ingest
from service.papers.identity import ARXIV
from service.papers.record import Identifier
from service.settings import Settings
from service.subscribers import erasure, interests, marks, personal_data
from service.subscribers.accounts import Preferences
from service.subscribers.consent import Visit
from service.subscribers.marks import Act
from service.subscribers.tokens import Links, Purpose
from tests import factories
from tests.web.test_account import enter


@pytest.fixture
def reader(database: Database, settings: Settings) -> int:
    """One whose digest brought two of four papers that match; a fifth is muted."""
    made = factories.reader(
        database, settings, queries=["robots"], muted=["survey"], preferences=Preferences(paper_limit=2)
    )
    factories.edition(database, *(factories.record(f"Robots {n}") for n in range(4)), factories.record("Robots Survey"))
    assert plan.plan_due(database, settings, everyone=True).digests == 1
    return made


def shown(page: str) -> list[str]:
    return [" ".join(each.text_content().split()) for each in html.fromstring(page).xpath("//article/h2")]


def test_the_list_holds_all_that_matched_and_what_is_ticked_off_leaves_the_unread(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    here = f"/preferences/{Links(settings).token(Purpose.PREFERENCES, reader)}/papers"
    page = browser.get(here).text
    assert sorted(shown(page)) == [f"Robots {n}" for n in range(4)], "the two over the limit too, the muted one not"
    assert "Because you follow robots" in page
    first, second = html.fromstring(page).xpath("//input[@name='shown']/@value")[:2]
    done = browser.post(f"{here}?show=unread", data={"read": first})
    assert (done.status_code, done.headers["location"]) == (303, f"{here}?show=unread")
    assert len(shown(browser.get(f"{here}?show=unread").text)) == 3
    browser.post(here, data={"save": second})
    browser.post(here, data={"save": second})
    assert len(shown(browser.get(f"{here}?show=saved").text)) == 1
    browser.post(here, data={"all": "read", "shown": [first, second]})
    assert len(shown(browser.get(f"{here}?show=unread").text)) == 2
    browser.post(here, data={"unsave": second, "unread": [first, second]})
    with database.transaction() as session:
        assert session.scalars(select(Mark)).all() == [], "a row that says nothing is gone"
    assert browser.get(f"{here}?show=saved&page=9").status_code == 200
    assert browser.post(here, data={"read": ["0", "999999", "99999999999999999999", "x"]}).status_code == 303


def test_who_is_signed_in_has_the_list_and_a_feed_that_leads_to_it(
    browser: TestClient, settings: Settings, reader: int
) -> None:
    assert browser.get("/account/papers").headers["location"] == "/sign-in"
    assert browser.post("/account/feed").headers["location"] == "/sign-in"
    enter(browser, settings, reader)
    assert len(shown(browser.get("/account/papers").text)) == 4

    def addresses(page: str) -> list[str]:
        return [each.removeprefix("https://papers.example") for each in html.fromstring(page).xpath("//li/a/@href")]

    first = addresses(browser.post("/account/feed").text)
    assert addresses(browser.post("/account/feed").text)[-3:] == first[-3:]
    feed = json.loads(browser.get(first[-1]).text)
    assert feed["home_page_url"].endswith("/account/papers")
    assert len(feed["items"]) == 2
    fresh = addresses(browser.post("/account/feed?fresh=yes").text)
    assert browser.get(first[-1]).status_code == 404
    assert browser.get(fresh[-1]).status_code == 200


def test_who_is_signed_in_follows_one_query_more_by_a_button(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    address = "/account/follow?query=author%3A%22Ada+Inventor%22"
    assert browser.post(address).headers["location"] == "/sign-in"
    enter(browser, settings, reader)
    assert "Follow it" in browser.get(address).text

    def followed() -> list[str]:
        with database.transaction() as session:
            return [each.label for each in interests.of(session, reader)]

    assert followed() == ["robots", "survey"], "a GET changes nothing"
    assert browser.post(address).status_code == browser.post(address).status_code == 200
    assert followed() == ["robots", "survey", 'author:"Ada Inventor"']
    assert browser.post("/account/follow?query=%28").status_code == 400


def test_marks_follow_a_merged_paper_stand_in_the_export_and_go_with_their_reader(
    database: Database, settings: Settings, reader: int
) -> None:
    names = (Identifier(ARXIV, "9903.00001"), Identifier("doi", "10.1234/one"))
    factories.edition(
        database, *(factories.record("Twice", identifiers=(name,), abstract=name.value) for name in names)
    )
    with database.transaction() as session:
        marks.mark(session, reader, [6, 7], Act.SAVE)
        marks.mark(session, reader, [7], Act.READ)
    ingest.ingest(database, factories.Listed(factories.record("Twice", identifiers=names)), factories.TODAY)
    with database.transaction() as session:
        assert list(marks.saved(session, reader)) == [6]
        (row,) = json.loads(personal_data.export(session, reader))["marks"]
        assert (row["paper"], row["paper_id"]) == ("Twice", 6)
        erasure.erase(session, settings, reader, Visit("test"))
    with database.transaction() as session:
        assert session.scalars(select(Mark)).all() == []


def test_papers_one_liked_become_keywords_that_are_shown_before_anything_is_stored(
    browser: TestClient, database: Database
) -> None:
    names = (Identifier(ARXIV, "9904.00001"), Identifier("doi", "10.1234/decoding"))
    factories.edition(
        database,
        factories.record("Speculative Decoding at Sea", identifiers=names, abstract="Speculative decoding. " * 3),
        factories.record("Speculative Decoding on Land", abstract="Speculative decoding again."),
        factories.record("Trout of the River"),
    )

    def asked(liked: str, **more: object) -> html.HtmlElement:
        answer = browser.post("/subscribe", data={"email": "ada@example.org", "liked": liked, **more})
        assert answer.status_code == 200
        return html.fromstring(answer.text)

    for spelling in (
        "9904.00001", "https://arxiv.org/abs/9904.00001v2", "https://huggingface.co/papers/9904.00001",
        "doi:10.1234/DECODING", "https://papers.example/papers/1", "speculative decoding at sea",
    ):  # fmt: skip
        page = asked(spelling)
        assert page.xpath("//textarea[@name='queries']")[0].text.strip() == '"speculative decoding"', spelling
        assert "“Speculative Decoding at Sea”" in page.text_content()
        assert "2 papers in the last 30 days" in page.text_content()
    page = asked("speculative decoding\n9999.99999\nzzz qqq", queries="robots")
    assert [each.strip() for each in page.xpath("//fieldset//label/span/text()")][:1] != []
    said = page.text_content()
    assert "“9999.99999” is not among the papers here" in said
    assert "no paper here bears the words “zzz qqq”" in said
    choices = page.xpath("//input[@name='alike']/@value")
    assert sorted(choices) == ["1", "2"]
    page = asked("", alike=["2"], queries="robots", likes="yes")
    assert page.xpath("//textarea[@name='queries']")[0].text.strip().split("\n")[0] == "robots"
    with database.transaction() as session:
        assert session.scalars(select(Reader)).all() == []
