from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from lxml import html

from service.database import Database
from service.papers import ingest
from service.papers.record import DayRead, Identifier
from tests import factories

HOSTILE = """<script>alert("x")</script> & 'quoted' <img src=x onerror=alert(1)>"""


def texts(page: str) -> str:
    return " ".join(html.fromstring(page).text_content().split())


def test_the_front_page_shows_the_newest_day_with_a_subscribe_box(browser: TestClient, database: Database) -> None:
    factories.edition(
        database,
        factories.record("Walking Robots", upvotes=7, comments=2, authors=("A One", "B Two", "C Three", "D Four")),
        factories.record("An Older Paper", listed_on=factories.TODAY - timedelta(days=2)),
    )
    page = browser.get("/")
    assert page.status_code == 200
    said = texts(page.text)
    assert "Walking Robots" in said
    assert "An Older Paper" not in said
    assert "A One, B Two and 2 more" in said
    assert "7 upvotes" in said
    assert "2 comments" in said
    assert html.fromstring(page.text).xpath("//form[@method='post'][@action='/subscribe']//input[@type='email']")


def test_an_empty_site_says_so_and_serves_every_page(browser: TestClient) -> None:
    for path in ("/", "/days", "/search", "/topics", "/subscribe", "/robots.txt", "/healthz", "/readyz"):
        assert browser.get(path).status_code == 200, path
    assert "No papers yet" in browser.get("/").text


def test_other_days_are_linked_and_a_day_without_papers_is_404(browser: TestClient, database: Database) -> None:
    earlier = factories.TODAY - timedelta(days=3)
    factories.edition(database, factories.record(), factories.record("Earlier Work", listed_on=earlier))
    front = browser.get("/").text
    assert f'href="/day/{earlier}"' in front
    assert "Earlier Work" in browser.get(f"/day/{earlier}").text
    assert browser.get("/day/1999-01-01").status_code == 404


def test_a_day_says_why_it_is_empty_and_what_is_lacking(browser: TestClient, database: Database) -> None:
    today, earlier = factories.TODAY, factories.TODAY - timedelta(days=2)
    now = datetime.now(UTC)
    ingest.ingest(database, factories.Listed(DayRead(earlier, 0)), earlier, now=now, by_days=True)
    ingest.ingest(database, factories.Listed(DayRead(earlier, 0, complete=False), name="biorxiv"), earlier, now=now)
    day = browser.get(f"/day/{earlier}")
    assert day.status_code == 200
    said = texts(day.text)
    assert "arXiv announced nothing on this day." in said
    assert "bioRxiv has not answered yet; we keep trying." in said
    assert "arXiv has not told of this day yet; we keep asking." in texts(browser.get(f"/day/{today}").text)
    factories.edition(database, factories.record("A Paper", listed_on=earlier))
    said = texts(browser.get(f"/day/{earlier}").text)
    assert "arXiv announced nothing" not in said
    assert "bioRxiv has not answered yet; we keep trying." in said


def test_the_page_of_a_merged_paper_leads_to_the_one_that_stands(browser: TestClient, database: Database) -> None:
    names = (Identifier("arxiv", "2601.00001"), Identifier("doi", "10.1/x"))
    factories.edition(database, *(factories.record(identifiers=(name,)) for name in names))
    ingest.ingest(database, factories.Listed(factories.record("Both", identifiers=names)), factories.TODAY)
    moved = browser.get("/papers/2")
    assert (moved.status_code, moved.headers["location"]) == (301, "/papers/1")
    assert browser.get("/papers/1").status_code == 200
    assert browser.get("/papers/3").status_code == 404


def test_every_internal_link_of_every_page_answers(browser: TestClient, database: Database) -> None:
    factories.edition(
        database,
        factories.record("A Paper About Language Models", keywords=("language & models", 'a "quoted" one')),
        factories.record("Another Paper About Language Models", listed_on=factories.TODAY - timedelta(days=1)),
    )
    seen: set[str] = set()
    waiting = ["/", "/topics/arxiv:cs.CL"]
    while waiting:
        path = waiting.pop()
        if path in seen or len(seen) > 400:
            continue
        seen.add(path)
        answer = browser.get(path)
        assert answer.status_code == 200, path
        if "html" in answer.headers["content-type"]:
            links = html.fromstring(answer.text).xpath("//a/@href | //link/@href | //script/@src")
            # A reader's own pages ask who one is.
            waiting += [link for link in links if link.startswith("/") and not link.startswith("/account/")]
    assert any(path.startswith("/papers/") for path in seen)
    assert len(seen) > 100


@pytest.mark.parametrize("path", ["/", "/papers/1", "/search?q=alert", "/topics/arxiv:cs.CL"])
def test_hostile_text_is_shown_as_text(browser: TestClient, database: Database, path: str) -> None:
    factories.edition(
        database, factories.record(HOSTILE, abstract=HOSTILE, tldr=HOSTILE, authors=(HOSTILE,), organization=HOSTILE)
    )
    page = browser.get(path)
    tree = html.fromstring(page.text)
    assert tree.xpath("//img") == []
    assert not any("alert" in (script.text or "") for script in tree.xpath("//script"))
    assert 'alert("x")' in tree.text_content()


def test_a_hostile_search_comes_back_as_text(browser: TestClient) -> None:
    page = browser.get("/search", params={"q": '"><script>alert(1)</script>'})
    assert page.status_code in (200, 400)
    assert html.fromstring(page.text).xpath("//script[not(@src)]") == []


def test_search_finds_explains_and_pages(browser: TestClient, database: Database) -> None:
    factories.edition(database, *(factories.record(f"Robots of Kind {n}") for n in range(25)), factories.record("Fish"))
    page = browser.get("/search", params={"q": "title:robot -fish"})
    assert "25 papers" in texts(page.text)
    assert "“robot” in the title, but not “fish”" in texts(page.text)
    assert "Page 1 of 2" in texts(page.text)
    assert "Page 2 of 2" in texts(browser.get("/search", params={"q": "title:robot -fish", "page": 2}).text)


def test_a_query_that_does_not_parse_is_a_400_that_keeps_it_and_points_at_the_place(browser: TestClient) -> None:
    page = browser.get("/search", params={"q": "robots AND (fish"})
    assert page.status_code == 400
    tree = html.fromstring(page.text)
    assert tree.xpath("//input[@name='q']/@value") == ["robots AND (fish"]
    assert "a parenthesis is not closed" in tree.text_content()
    assert tree.xpath("//pre")[0].text.split("\n")[1].index("^") == len("robots AND ")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/papers/999999", 404),
        ("/papers/99999999999999999999999", 404),
        ("/papers/one", 422),
        ("/day/yesterday", 422),
        ("/topics/no-such-topic", 404),
        ("/nowhere", 404),
        ("/search?q=a&page=0", 422),
        ("/mailbox", 404),
        ("/mailbox.json", 404),
    ],
)
def test_bad_addresses_get_a_readable_page(browser: TestClient, path: str, status: int) -> None:
    answer = browser.get(path)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert answer.json()["error"] if path.endswith(".json") else "<h1>" in answer.text


def test_every_answer_carries_the_security_headers_and_asks_no_third_party(
    browser: TestClient, database: Database
) -> None:
    factories.edition(database, factories.record())
    for path in ("/", "/papers/1", "/subscribe", "/topics", "/nowhere", "/healthz"):
        answer = browser.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert not re.search(r"""(?:src|href)=["']https?://(?!arxiv\.org|papers\.example)""", answer.text)
        assert " style=" not in answer.text, "inline styles would be blocked by our own policy"


def test_the_pages_are_light(browser: TestClient) -> None:
    size = sum(len(browser.get(path).content) for path in ("/static/style.css", "/static/site.js"))
    assert size < 30_000
    assert "immutable" in browser.get("/static/style.css").headers["cache-control"]
