from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import Digest, Feedback
from service.digests import plan
from service.settings import Settings
from service.subscribers import feedback, interests
from service.subscribers.accounts import Preferences
from service.subscribers.tokens import Links, Purpose
from tests import factories


def texts(page: str) -> str:
    return " ".join(html.fromstring(page).text_content().split())


def said(database: Database, reader: int) -> list[tuple[int, bool]]:
    with database.transaction() as session:
        return [(each.paper_id, each.liked) for each in feedback.of(session, reader)]


def followed(database: Database, reader: int) -> list[str]:
    with database.transaction() as session:
        return [each.label for each in interests.of(session, reader)]


@pytest.fixture
def reader(database: Database, settings: Settings) -> int:
    return factories.reader(
        database, settings, "ada@example.org", queries=["robots", '"deep sea"'], muted=["surveys"],
        preferences=Preferences(paper_limit=1),
    )  # fmt: skip


def planned(database: Database, settings: Settings) -> int:
    factories.edition(
        database,
        factories.record("Robots <i>of</i> the Deep Sea"),
        factories.record("Robots & Trout", abstract="How robots follow trout."),
        factories.record("A Survey of Robots"),
        factories.record("Trout"),
    )
    plan.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        return session.scalars(select(Digest.id)).one()


def test_a_digests_page_shows_all_it_matched_with_reasons_and_no_address(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    digest = planned(database, settings)
    answer = browser.get(f"/digest/{Links(settings).token(Purpose.DIGEST, digest)}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    page = html.fromstring(answer.text)
    assert [" ".join(each.text_content().split()) for each in page.xpath("//article/*[self::h2 or self::h3]")] == [
        "Robots <i>of</i> the Deep Sea",
        "Robots & Trout",
    ]
    assert "And 1 more" in texts(answer.text)
    assert {str(each.text) for each in page.xpath("//mark")} == {"Robots", "robots", "Deep Sea"}
    assert "ada" not in answer.text.lower()
    assert "noindex" in answer.text
    assert said(database, reader) == []


def test_a_link_of_one_purpose_opens_no_other_door(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    planned(database, settings)
    links = Links(settings)
    for purpose in Purpose:
        token = links.token(purpose, reader)
        if purpose is not Purpose.FEEDBACK:
            assert browser.get(f"/feedback/{token}/1/up").status_code == 404
            assert browser.post(f"/feedback/{token}/1/up").status_code == 404
            assert browser.post(f"/feedback/{token}/1", data={"queries": "x1"}).status_code == 404
        if purpose is not Purpose.DIGEST:
            assert browser.get(f"/digest/{token}").status_code == 404
        if purpose is not Purpose.PREFERENCES:
            assert browser.get(f"/preferences/{token}/learned").status_code == 404
            assert browser.post(f"/preferences/{token}/learned").status_code == 404
    assert said(database, reader) == []


def test_opening_a_link_of_a_mail_changes_nothing_and_its_button_records(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    planned(database, settings)
    token = Links(settings).token(Purpose.FEEDBACK, reader)
    for word in ("up", "down"):
        assert browser.get(f"/feedback/{token}/1/{word}").status_code == 200
        assert browser.head(f"/feedback/{token}/1/{word}").status_code in (200, 405)
    assert said(database, reader) == []
    assert "more like this comes first" in browser.post(f"/feedback/{token}/1/up").text
    assert said(database, reader) == [(1, True)]
    browser.post(f"/feedback/{token}/1/down")
    assert said(database, reader) == [(1, False)]
    assert "Forgotten" in browser.post(f"/feedback/{token}/1/down", data={"undo": "yes"}).text
    assert said(database, reader) == []


@pytest.mark.parametrize("path", ["999/up", "1/sideways", "x/up", f"{2**80}/up", "-1/up"])
def test_a_word_on_no_paper_is_refused(
    browser: TestClient, database: Database, settings: Settings, reader: int, path: str
) -> None:
    planned(database, settings)
    token = Links(settings).token(Purpose.FEEDBACK, reader)
    assert browser.post(f"/feedback/{token}/{path}").status_code in (404, 422)
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Feedback)).one() == 0


def test_what_was_learned_is_shown_and_reset(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    planned(database, settings)
    with database.transaction() as session:
        for paper in (1, 2, 4):
            feedback.give(session, reader, paper, liked=paper != 4)
    path = f"/preferences/{Links(settings).token(Purpose.PREFERENCES, reader)}/learned"
    page = browser.get(path).text
    assert "Robots & Trout" in texts(page)
    assert page.count("Forget my word on") == 3
    browser.post(path, data={"paper": "2"})
    assert {paper for paper, _ in said(database, reader)} == {1, 4}
    browser.post(path, data={"paper": "nonsense"})
    assert len(said(database, reader)) == 2
    assert "Nothing so far" in browser.post(path).text
    assert said(database, reader) == []


def test_more_like_a_paper_becomes_an_interest_after_it_was_shown(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    planned(database, settings)
    path = f"/feedback/{Links(settings).token(Purpose.FEEDBACK, reader)}/2"
    form = html.fromstring(browser.get(path).text)
    made = str(form.get_element_by_id("queries").value)
    assert made == "trout OR robot"
    assert "4 papers in the last 30 days" in texts(browser.get(path).text)
    shown = browser.post(path, data={"queries": "trout", "preview": "yes"})
    assert "2 papers in the last 30 days" in texts(shown.text)
    assert followed(database, reader) == ["robots", '"deep sea"', "surveys"]
    assert "You follow it" in browser.post(path, data={"queries": "trout -survey"}).text
    assert followed(database, reader) == ["robots", '"deep sea"', "surveys", "trout -survey"]
    assert "a parenthesis is not closed" in browser.post(path, data={"queries": "(trout"}).text
    assert browser.post(path, data={"queries": " "}).status_code == 400
    assert "You follow it" in browser.post(path, data={"queries": "surveys"}).text
    assert len(followed(database, reader)) == 4


@pytest.mark.usefixtures("reader")
def test_anybody_sees_more_like_a_paper_and_is_led_to_the_form(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    planned(database, settings)
    page = browser.get("/papers/2/more")
    assert page.status_code == 200
    assert '/subscribe?query=trout%20OR%20robot"' in page.text
    assert "2 papers in the last" in texts(browser.get("/papers/2/more", params={"query": "trout"}).text)
    assert browser.get("/papers/99/more").status_code == 404


def test_a_digest_that_is_gone_says_so(browser: TestClient, settings: Settings) -> None:
    assert browser.get(f"/digest/{Links(settings).token(Purpose.DIGEST, 77)}").status_code == 410
