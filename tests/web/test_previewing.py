from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import Reader
from service.papers import ingest
from service.settings import Settings
from service.subscribers.tokens import Links, Purpose
from tests import factories
from tests.factories import TODAY


def stocked(database: Database) -> None:
    factories.edition(
        database,
        factories.record("Speculative Decoding <b>of</b> Robots", listed_on=TODAY),
        factories.record("A Survey of Speculative Decoding", listed_on=TODAY),
        factories.record("Trout", abstract="Here robots swim.", listed_on=TODAY - timedelta(days=3)),
        factories.record("Old Robots", listed_on=TODAY - timedelta(days=40)),
    )


def test_a_preview_shows_what_would_have_come_with_its_reasons_marked(browser: TestClient, database: Database) -> None:
    stocked(database)
    answer = browser.post("/preview", data={"queries": '"speculative decoding"\nrobots', "muted": "survey"})
    assert answer.status_code == 200
    page = html.fromstring(answer.text)
    assert "2 papers in the last 30 days" in page.text_content()
    assert [" ".join(each.text_content().split()) for each in page.xpath("//h3")] == [
        "Speculative Decoding <b>of</b> Robots",
        "Trout",
    ]
    assert [each.text for each in page.xpath("//mark")] == ["Speculative Decoding", "Robots", "robots"]
    assert "&lt;b&gt;of&lt;/b&gt;" in answer.text


def test_the_json_counts_each_day_and_names_the_interests(browser: TestClient, database: Database) -> None:
    stocked(database)
    answer = browser.get("/preview.json", params={"query": ["robots", "decoding"]}).json()
    assert answer["total"] == 3
    assert len(answer["days"]) == 30
    assert answer["days"][-1] == {"day": TODAY.isoformat(), "papers": 2}
    assert answer["days"][-4]["papers"] == 1
    assert answer["papers"][0]["reasons"] in (["robots", "decoding"], ["decoding"])


def test_a_query_that_is_not_understood_is_told_and_the_rest_is_shown(browser: TestClient, database: Database) -> None:
    stocked(database)
    answer = browser.post("/preview", data={"queries": "(\nrobots"})
    assert "a parenthesis is not closed" in answer.text
    assert "2 papers in the last" in answer.text
    refused = browser.get("/preview.json", params={"query": "("})
    assert refused.status_code == 400
    assert "not closed" in refused.json()["detail"][0]


def test_the_button_works_without_a_script_and_stores_nothing(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    stocked(database)
    form = {"email": "ada@example.org", "queries": "robots", "preview": "yes", "hour": "6", "timezone": "UTC"}
    answer = browser.post("/subscribe", data=form)
    assert answer.status_code == 200
    assert "2 papers in the last" in answer.text
    assert html.fromstring(answer.text).get_element_by_id("email").value == "ada@example.org"
    reader = factories.reader(database, settings, queries=["trout"])
    token = Links(settings).token(Purpose.PREFERENCES, reader)
    answer = browser.post(f"/preferences/{token}", data={"queries": "robots", "preview": "yes"})
    assert "2 papers in the last" in answer.text
    assert 'name="queries" rows="4">trout' in browser.get(f"/preferences/{token}").text
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Reader)).one() == 1


def test_a_name_on_many_papers_is_told_with_its_count(browser: TestClient, database: Database) -> None:
    factories.edition(database, *(factories.record(authors=("Wei Wang",)) for _ in range(5)))
    factories.edition(database, factories.record(authors=("Ada Lovelace",)))
    page = browser.get("/search", params={"q": 'author:"Wei Wang" OR author:"Ada Lovelace" OR author:"No Body"'}).text
    assert "“wei wang” stands on 5 papers here. 5 of them are of the last 30 days: likely" in page
    assert "“ada lovelace” stands on 1 paper here." in page
    assert "No paper here is by “no body”" in page
    assert "likely" in browser.post("/preview", data={"queries": 'author:"Wei Wang"'}).text


def test_nothing_to_look_for_and_an_empty_archive_are_no_errors(browser: TestClient, database: Database) -> None:
    assert "Nothing chosen yet" in browser.post("/preview", data={}).text
    assert browser.get("/preview.json", params={"query": "robots"}).json()["total"] == 0
    stocked(database)
    assert "there is no topic" in browser.post("/preview", data={"topic": "no-such"}).text


def test_what_is_kept_of_an_example_goes_with_the_paper_and_the_interests_that_found_it(
    browser: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.matching.search._FRESH_SECONDS", 0.0)
    first = factories.record("Robots at Sea", abstract="Short.", listed_on=TODAY)
    factories.edition(database, first)
    assert "because of robots<" in browser.post("/preview", data={"queries": "robots"}).text
    both = browser.post("/preview", data={"queries": "robots\nsea"}).text
    assert "because of robots and sea<" in both
    assert both.count("<mark>") == 2
    ingest.ingest(database, factories.Listed(replace(first, abstract="Longer: robots, and more robots.")), TODAY)
    assert browser.post("/preview", data={"queries": "robots"}).text.count("<mark>") == 3
    german = browser.post("/preview", data={"queries": "robots"}, headers={"accept-language": "de"}).text
    assert "because of" not in german


def test_a_preview_of_no_form_or_too_large_a_form_changes_nothing(browser: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert "Nothing chosen yet" in browser.post("/preview", content=b"").text
    assert browser.post("/preview", content=b"&".join([b"topic=x"] * 500), headers=headers).status_code == 400
    assert browser.post("/preview", content=b"queries=\xff", headers=headers).status_code == 400
