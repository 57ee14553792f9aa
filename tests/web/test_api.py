"""The HTTP API as a program meets it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import AccessToken, Delivery, DeliveryKind, Reader, ReaderState
from service.settings import Settings
from service.subscribers import access
from service.subscribers.tokens import Links, Purpose
from service.web.app import create_app
from tests import factories

API = "/api/v1"


def given(database: Database, settings: Settings, reader: int) -> dict[str, str]:
    """The header of a signed-in program."""
    with database.transaction() as session:
        token = access.exchange(session, Links(settings), Links(settings).token(Purpose.TOKEN, reader)).token
    return {"authorization": f"Bearer {token}"}


def followed(browser: TestClient, path: str) -> list[dict[str, object]]:
    """Every page of a list, by its Link headers."""
    pages = []
    url: str | None = path
    while url:
        answer = browser.get(url)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        link = answer.headers.get("link")
        found = re.fullmatch(r'<https://papers\.example(/api/v1/[^>]+)>; rel="next"', link) if link else None
        assert (link is None) == (answer.json()["next"] is None)
        url = found[1] if found else None
    return pages


def test_papers_come_in_pages_each_once(browser: TestClient, database: Database) -> None:
    yesterday = factories.TODAY - timedelta(days=1)
    factories.edition(database, *(factories.record(f"Old {n}", listed_on=yesterday) for n in range(2)))
    factories.edition(database, *(factories.record(f"Robot {n}") for n in range(7)))
    for path, total in (
        ("/papers?limit=3", 9),
        (f"/papers?limit=3&day={yesterday}", 2),
        ("/papers?limit=3&edition=2", 7),
        ("/papers?limit=7&edition=2", 7),
        ("/search?limit=3&q=title:robot", 7),
    ):
        ids = [paper["id"] for page in followed(browser, API + path) for paper in page["papers"]]  # type: ignore[attr-defined]  # JSON
        assert len(ids) == len(set(ids)) == total, path
    assert [each["id"] for page in followed(browser, f"{API}/editions?limit=1") for each in page["editions"]] == [2, 1]  # type: ignore[attr-defined]  # JSON
    one = browser.get(f"{API}/papers/1").json()
    assert (one["title"], one["page_url"]) == ("Old 0", "https://papers.example/papers/1")


def test_topics_and_editions_can_be_asked_for_one_by_one(browser: TestClient, database: Database) -> None:
    factories.edition(database, factories.record())
    listed = browser.get(f"{API}/topics").json()["topics"]
    assert {"language-models", "arxiv:cs.CL"} <= {topic["slug"] for topic in listed}
    assert browser.get(f"{API}/topics/arxiv:cs.CL").json()["query"] == "cat:cs.CL"
    assert browser.get(f"{API}/editions/1").json()["paper_count"] == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/papers/999", 404),
        ("GET", "/papers/99999999999999999999", 404),
        ("GET", "/papers/one", 422),
        ("GET", "/papers?cursor=nonsense", 400),
        ("GET", "/papers?cursor=c2VhcmNoOjU", 400),  # of a search
        ("GET", "/papers?limit=1000", 422),
        ("GET", "/papers?edition=99999999999", 422),
        ("GET", "/search?q=(", 400),
        ("GET", "/search", 422),
        ("GET", "/editions/77", 404),
        ("GET", "/topics/none", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/papers", 405),
        ("GET", "/preferences", 401),
        ("GET", "/../v2/papers", 404),
        ("POST", "/subscriptions", 422),
    ],
)
def test_errors_are_problem_details_with_a_line_to_act_on(
    browser: TestClient, method: str, path: str, status: int
) -> None:
    answer = browser.request(method, API + path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_refusals_before_the_api_is_reached_are_problem_details_too(browser: TestClient) -> None:
    foreign = browser.post(f"{API}/tokens", json={"email": "a@example.org"}, headers={"origin": "https://evil.example"})
    large = browser.post(f"{API}/tokens", content=b"x" * 300_000)
    assert [answer.status_code for answer in (foreign, large)] == [403, 413]
    assert {answer.headers["content-type"] for answer in (foreign, large)} == {"application/problem+json"}


def test_subscribing_is_double_opt_in_and_answers_the_same_to_all(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, "known@example.org", queries=["robots"])
    bodies = {"email": "new@example.org", "queries": ["robots -fish"], "hour": 6, "timezone": "Europe/Berlin"}
    answers = [
        browser.post(f"{API}/subscriptions", json=bodies | {"email": email})
        for email in ("new@example.org", "new@example.org", "known@example.org")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    with database.transaction() as session:
        new = session.scalars(select(Reader).where(Reader.address_key == "new@example.org")).one()
        kinds = session.scalars(select(Delivery.kind).order_by(Delivery.id)).all()
    assert (new.state, new.digest_hour) == (ReaderState.PENDING, 6)
    assert kinds == ["confirm", "sign-in"]


@pytest.mark.parametrize(
    "change", [{"email": "nobody"}, {"queries": ["("]}, {"topics": ["none"]}, {"timezone": "Mars/Olympus"}]
)
def test_a_subscription_that_cannot_be_understood_is_a_400_and_leaves_nothing(
    browser: TestClient, database: Database, change: dict[str, object]
) -> None:
    answer = browser.post(f"{API}/subscriptions", json={"email": "a@example.org"} | change)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Reader)).one() == 0


def test_a_code_goes_only_to_readers_and_the_answer_does_not_tell(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, "known@example.org", queries=["robots"])
    answers = [
        browser.post(f"{API}/tokens", json={"email": email})
        for email in ("known@example.org", "nobody@example.org", "known@example.org")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    with database.transaction() as session:
        assert session.scalars(select(Delivery.kind)).all() == [DeliveryKind.SIGN_IN]


def test_a_code_gives_one_token_which_is_kept_as_a_hash_ends_and_can_be_revoked(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    code = Links(settings).token(Purpose.TOKEN, reader)
    first = browser.post(f"{API}/tokens/exchange", json={"code": f"https://papers.example/token/{code}"})
    assert first.status_code == 201
    assert first.headers["cache-control"] == "no-store"
    assert browser.post(f"{API}/tokens/exchange", json={"code": code}).status_code == 400, "a code works once"
    token = first.json()["token"]
    with database.transaction() as session:
        row = session.scalars(select(AccessToken)).one()
        assert token.encode() not in row.digest + row.code_digest
        late = datetime.now(UTC) + access.TOKEN_LIFETIME + timedelta(seconds=1)
        assert access.reader_of(session, token) == reader
        assert access.reader_of(session, token, now=late) is None
    header = {"authorization": f"Bearer {token}"}
    others = given(database, settings, factories.reader(database, settings, queries=["robots"]))
    assert browser.delete(f"{API}/tokens/current", headers=header).status_code == 204
    assert browser.get(f"{API}/preferences", headers=header).status_code == 401
    assert browser.get(f"{API}/preferences", headers=others).status_code == 200
    assert browser.delete(f"{API}/tokens", headers=others).status_code == 204
    assert browser.get(f"{API}/preferences", headers=others).status_code == 401


def test_a_token_is_given_on_its_page_by_the_button_alone(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    path = Links(settings).access_token(reader).removeprefix("https://papers.example")
    assert "Show me a token" in browser.get(path).text
    page = browser.post(path)
    found = re.search(r"paperround_[\w-]{40,}", page.text)
    assert found is not None
    assert page.headers["cache-control"] == "no-store"
    assert browser.get(f"{API}/preferences", headers={"authorization": f"Bearer {found[0]}"}).status_code == 200
    assert browser.post(path).status_code == 404


@pytest.mark.parametrize("purpose", [each for each in Purpose if each is not Purpose.TOKEN])
def test_links_for_other_purposes_give_no_token(
    browser: TestClient, database: Database, settings: Settings, purpose: Purpose
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    code = Links(settings).token(purpose, reader)
    assert browser.post(f"{API}/tokens/exchange", json={"code": code}).status_code == 400
    assert browser.get(f"{API}/preferences", headers={"authorization": f"Bearer {code}"}).status_code == 401


def test_preferences_change_only_what_is_given_and_all_or_nothing(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"], muted=["fish"])
    header = given(database, settings, reader)
    before = browser.get(f"{API}/preferences", headers=header).json()
    assert [(each["query"], each["muted"]) for each in before["interests"]] == [("robot", False), ("fish", True)]
    changed = browser.patch(f"{API}/preferences", headers=header, json={"hour": 21, "weekdays": 31})
    assert changed.status_code == 200
    assert (changed.json()["hour"], changed.json()["weekdays"]) == (21, 31)
    assert changed.json()["interests"] == before["interests"]
    wrong = browser.patch(
        f"{API}/preferences", headers=header, json={"hour": 5, "interests": {"topics": ["music"], "queries": ["("]}}
    )
    assert wrong.status_code == 400
    assert browser.get(f"{API}/preferences", headers=header).json() == changed.json()
    new = browser.patch(f"{API}/preferences", headers=header, json={"interests": {"topics": ["music"]}}).json()
    assert [each["topic"] for each in new["interests"]] == ["music"]


def test_a_feed_address_can_be_had_and_rotated(browser: TestClient, database: Database, settings: Settings) -> None:
    header = given(database, settings, factories.reader(database, settings, queries=["robots"]))
    first = browser.get(f"{API}/feed", headers=header).json()
    assert all(browser.get(url).status_code == 200 for url in first.values())
    second = browser.post(f"{API}/feed/rotate", headers=header).json()
    assert {browser.get(url).status_code for url in first.values()} == {404}
    assert {browser.get(url).status_code for url in second.values()} == {200}


def test_leaving_by_token_ends_the_subscription(browser: TestClient, database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    header = given(database, settings, reader)
    assert browser.delete(f"{API}/subscription", headers=header).status_code == 204
    assert browser.delete(f"{API}/subscription", headers=header).status_code == 204
    assert browser.get(f"{API}/preferences", headers=header).json()["state"] == "unsubscribed"


def test_the_allowance_is_told_and_its_end_is_a_429_with_the_time_to_wait(
    settings: Settings, database: Database
) -> None:
    site = TestClient(create_app(settings.model_copy(update={"api_requests_per_minute": 2}), database))
    answers = [site.get(f"{API}/topics") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"minute";q=2;w=60'
    assert re.fullmatch(r'"minute";r=1;t=\d+', answers[0].headers["ratelimit"])
    assert 0 < int(answers[2].headers["retry-after"]) <= 60
    assert answers[2].headers["content-type"] == "application/problem+json"
    assert site.get("/topics").status_code == 200, "pages have no such limit"


def test_the_description_and_its_page_name_every_request_and_load_nothing(browser: TestClient) -> None:
    described = browser.get(f"{API}/openapi.json").json()
    assert described["openapi"].startswith("3.")
    page = browser.get(f"{API}/").text
    for path in described["paths"]:
        assert f"/api/v1{path}</code>" in page
    assert not re.search(r"""(?:src|href)=["']https?://(?!papers\.example)""", page)
    assert "<script" not in page
