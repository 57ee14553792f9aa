"""The site in the reader's language, and each language's page kept apart from the others'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from lxml import html

from service.database import Database
from service.settings import Settings
from service.translation import LANGUAGES
from service.web.app import create_app
from tests import factories


def spoken(answer: Response) -> tuple[str, str]:
    page = html.fromstring(answer.text)
    return str(page.get("lang")), str(page.get("dir"))


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.tag)
def test_a_page_says_its_language_and_direction(browser: TestClient, language: object) -> None:
    tag, direction = language.tag, language.direction  # type: ignore[attr-defined]  # parametrize has no types
    answer = browser.get("/topics", headers={"Accept-Language": tag})
    assert spoken(answer) == (tag, direction)
    assert {"Accept-Language", "Cookie"} <= {each.strip() for each in answer.headers["Vary"].split(",")}
    assert "Set-Cookie" not in answer.headers


def test_an_explicit_choice_is_kept_in_a_cookie_and_wins_over_the_browser(browser: TestClient) -> None:
    answer = browser.get("/topics?lang=ar", headers={"Accept-Language": "de"})
    assert spoken(answer) == ("ar", "rtl")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} <= {each.strip() for each in cookie.split(";")}
    assert "private" in answer.headers["Cache-Control"]
    browser.cookies.clear()
    later = browser.get("/search", headers={"Accept-Language": "de", "Cookie": cookie.split(";")[0]})
    assert spoken(later) == ("ar", "rtl")
    assert "Set-Cookie" not in later.headers


@pytest.mark.parametrize("nonsense", ["xx", "", "../../etc", "de\r\nX: y", "%00"])
def test_a_language_that_nobody_speaks_changes_nothing(browser: TestClient, nonsense: str) -> None:
    answer = browser.get("/topics", params={"lang": nonsense}, headers={"Cookie": 'lang="\\'})
    assert spoken(answer) == ("en", "ltr")
    assert "Set-Cookie" not in answer.headers


def test_every_page_offers_itself_in_the_other_languages(browser: TestClient) -> None:
    page = html.fromstring(browser.get("/search?q=robots&lang=fr").text)
    links = page.xpath("//footer//nav//a")
    assert [each.get("lang") for each in links] == [language.tag for language in LANGUAGES]
    assert [each.get("href") for each in links] == [f"/search?q=robots&lang={each.tag}" for each in LANGUAGES]
    assert [each.text for each in links if each.get("aria-current")] == ["Français"]


def test_the_offer_leads_to_no_other_site(browser: TestClient) -> None:
    page = html.fromstring(browser.get("https://papers.example//elsewhere.example/").text)
    assert all(str(each).startswith("/elsewhere.example/?") for each in page.xpath("//footer//nav//a/@href"))


@pytest.fixture
def keeping(settings: Settings, database: Database) -> Iterator[TestClient]:
    """A site that keeps its pages."""
    factories.edition(database, factories.record("Robots"))
    app = create_app(settings.model_copy(update={"page_seconds": 60}), database)
    with TestClient(app, base_url="https://papers.example") as client:
        yield client


def test_kept_pages_and_their_tags_are_of_one_language_each(keeping: TestClient) -> None:
    tags = {}
    for _ in range(2):
        for language in LANGUAGES:
            answer = keeping.get("/days", headers={"Accept-Language": language.tag})
            assert spoken(answer) == (language.tag, language.direction)
            tags[language.tag] = answer.headers["ETag"]
    assert len(set(tags.values())) == len(LANGUAGES)
    same = keeping.get("/days", headers={"Accept-Language": "de", "If-None-Match": tags["de"]})
    assert same.status_code == 304
    assert "Accept-Language" in same.headers["Vary"]
    other = keeping.get("/days", headers={"Accept-Language": "fr", "If-None-Match": tags["de"]})
    assert spoken(other) == ("fr", "ltr")


def test_what_programs_read_stays_english(browser: TestClient) -> None:
    german = {"Accept-Language": "de"}
    assert browser.get("/api/v1/papers/999", headers=german).json()["detail"] == "there is no paper 999"
    assert "New papers" in browser.get("/feeds/papers.atom", headers=german).text
    assert "Accept-Language" not in browser.get("/feeds/papers.atom", headers=german).headers.get("Vary", "")


def test_dates_counts_and_errors_are_in_the_language(browser: TestClient, database: Database) -> None:
    factories.edition(database, *(factories.record(f"Robots {n}", upvotes=1_234) for n in range(2)))
    page = browser.get("/search?q=robots", headers={"Accept-Language": "de"}).text
    assert "2 Arbeiten" in page
    assert "1.234 Stimmen" in page
    missing = browser.get("/papers/999", headers={"Accept-Language": "zh"})
    assert missing.status_code == 404
    assert "没有这个页面" in missing.text
