from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import select

from service.database import Database
from service.database.tables import ConsentEvent, Delivery, DeliveryKind, Reader, ReaderState
from service.settings import Settings
from service.subscribers import accounts, interests
from service.subscribers.tokens import Links, Purpose
from tests import factories

FORM = {
    "email": "Ada@Example.org",
    "topic": ["language-models", "arxiv:cs.RO"],
    "queries": '"speculative decoding" -survey',
    "hour": "6",
    "timezone": "Europe/Berlin",
    "weekday": ["0", "2"],
    "limit": "5",
}


def only_reader(database: Database) -> Reader:
    with database.transaction() as session:
        return session.scalars(select(Reader)).one()


def deliveries(database: Database, kind: DeliveryKind) -> int:
    with database.transaction() as session:
        return len(session.scalars(select(Delivery).where(Delivery.kind == kind)).all())


def test_subscribing_makes_a_pending_reader_with_their_wishes_consent_and_one_confirmation(
    browser: TestClient, database: Database
) -> None:
    answer = browser.post("/subscribe", data=FORM, headers={"user-agent": "a browser"})
    assert answer.status_code == 200
    assert "Check your inbox" in answer.text
    reader = only_reader(database)
    assert reader.state == ReaderState.PENDING
    assert (reader.digest_hour, reader.timezone, reader.weekdays, reader.paper_limit) == (6, "Europe/Berlin", 0b101, 5)
    with database.transaction() as session:
        labels = {each.label for each in interests.of(session, reader.id)}
        event = session.scalars(select(ConsentEvent)).one()
    assert labels == {"Large language models", "Robotics", '"speculative decoding" -survey'}
    assert event.kind == "requested"
    assert event.wording in browser.get("/subscribe").text
    assert event.user_agent == "a browser"
    assert deliveries(database, DeliveryKind.CONFIRM) == 1


def test_the_answer_is_byte_for_byte_the_same_for_new_pending_and_active_addresses_and_robots(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, "known@example.org", queries=["robots"])
    answers = [
        browser.post("/subscribe", data=FORM | {"email": email, "website": website}).content
        for email, website in (
            ("new@example.org", ""),
            ("new@example.org", ""),
            ("NEW@EXAMPLE.ORG", ""),
            ("known@example.org", ""),
            ("robot@example.org", "https://spam.example"),
        )
    ]
    assert len(set(answers)) == 1
    with database.transaction() as session:
        assert {reader.email for reader in accounts.listing(session)} == {"known@example.org", "new@example.org"}
        known = accounts.find(session, "known@example.org")
        assert known is not None
        assert known.state == ReaderState.ACTIVE
        assert [each.label for each in interests.of(session, known.id)] == ["robots"], "a stranger changes nothing"
    assert deliveries(database, DeliveryKind.CONFIRM) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"email": "nobody"}, "cannot receive mail"),
        ({"email": "a@b.invalid"}, "cannot receive mail"),
        ({"email": "a@example.org\r\nBcc: x@example.org"}, "cannot receive mail"),
        ({"topic": ["no-such-topic"]}, "there is no topic"),
        ({"queries": "robots AND ("}, "a parenthesis is not closed"),
        ({"timezone": "Mars/Olympus"}, "is not a time zone"),
        ({"hour": "25"}, "is not an hour"),
        ({"weekday": []}, "no weekday is chosen"),
        ({"limit": "500"}, "papers in a mail are not possible"),
    ],
)
def test_a_bad_field_is_a_400_that_keeps_the_form_and_changes_nothing(
    browser: TestClient, database: Database, change: dict[str, str], said: str
) -> None:
    answer = browser.post("/subscribe", data=FORM | change)
    assert answer.status_code == 400
    tree = html.fromstring(answer.text)
    assert said in tree.xpath("string(//*[@role='alert'])")
    if "queries" not in change:
        assert '"speculative decoding" -survey' in tree.xpath("string(//textarea[@name='queries'])")
    with database.transaction() as session:
        assert accounts.listing(session) == []


def test_get_never_confirms_and_post_does(browser: TestClient, database: Database, settings: Settings) -> None:
    browser.post("/subscribe", data=FORM)
    path = Links(settings).confirm(only_reader(database).id).removeprefix("https://papers.example")
    page = browser.get(path)
    assert page.status_code == 200
    assert html.fromstring(page.text).xpath("//form[@method='post']//button")
    assert only_reader(database).state == ReaderState.PENDING
    confirmed = browser.post(path)
    assert confirmed.status_code == 200
    assert "Your subscription is confirmed" in confirmed.text
    assert only_reader(database).state == ReaderState.ACTIVE
    assert browser.post(path).status_code == 200, "a second press is as good as one"


def test_preferences_show_what_is_stored_and_store_what_is_sent(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots -fish"], topics=["music"], muted=["survey"])
    path = f"/preferences/{Links(settings).token(Purpose.PREFERENCES, reader)}"
    tree = html.fromstring(browser.get(path).text)
    assert tree.xpath("//input[@name='topic'][@checked]/@value") == ["music"]
    assert tree.xpath("string(//textarea[@name='queries'])").strip() == "robots -fish"
    assert tree.xpath("string(//textarea[@name='muted'])").strip() == "survey"
    answer = browser.post(path, data=FORM | {"muted": "fish"})
    assert answer.status_code == 200
    assert "Saved" in answer.text
    with database.transaction() as session:
        stored = {(each.label, each.muted) for each in interests.of(session, reader)}
        view = accounts.get(session, reader)
    assert stored == {
        ("Large language models", False),
        ("Robotics", False),
        ('"speculative decoding" -survey', False),
        ("fish", True),
    }
    assert view is not None
    assert view.hour == 6
    refused = browser.post(path, data=FORM | {"queries": "("})
    assert refused.status_code == 400
    with database.transaction() as session:
        assert {(each.label, each.muted) for each in interests.of(session, reader)} == stored


def test_unsubscribe_get_shows_a_button_and_only_post_acts(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    path = Links(settings).unsubscribe(reader).removeprefix("https://papers.example")
    page = browser.get(path)
    assert page.status_code == 200
    assert only_reader(database).state == ReaderState.ACTIVE
    assert html.fromstring(page.text).xpath("//form[@method='post']//button")
    assert browser.post(path).status_code == 200
    assert only_reader(database).state == ReaderState.UNSUBSCRIBED


@pytest.mark.parametrize("multipart", [False, True])
def test_one_click_unsubscribes_without_cookies_or_redirect_from_anywhere(
    browser: TestClient, database: Database, settings: Settings, multipart: bool
) -> None:
    """RFC 8058: the body may be urlencoded or multipart; providers post from their own origin."""
    reader = factories.reader(database, settings, queries=["robots"])
    path = Links(settings).unsubscribe(reader).removeprefix("https://papers.example")
    body = {"List-Unsubscribe": "One-Click"}
    elsewhere = {"origin": "https://mail.example", "sec-fetch-site": "cross-site"}
    if multipart:
        answer = browser.post(path, headers=elsewhere, files={name: (None, value) for name, value in body.items()})
    else:
        answer = browser.post(path, headers=elsewhere, data=body)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert only_reader(database).state == ReaderState.UNSUBSCRIBED


def test_forged_expired_and_foreign_purpose_links_are_4xx_and_change_nothing(
    browser: TestClient, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    links = Links(settings)
    good = links.token(Purpose.UNSUBSCRIBE, reader)
    # Not the last letter: its lowest bits say nothing.
    forged = good[:-9] + ("A" if good[-9] != "A" else "B") + good[-8:]
    for token in (forged, links.token(Purpose.PREFERENCES, reader), "x", "1"):
        assert browser.post(f"/unsubscribe/{token}").status_code == 404
    assert only_reader(database).state == ReaderState.ACTIVE
    expired = links.token(Purpose.PREFERENCES, reader)
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 4_000_000_000)
    answer = browser.get(f"/preferences/{expired}")
    assert answer.status_code == 410
    assert "expired" in answer.text


def test_posts_from_other_sites_are_refused(browser: TestClient, database: Database) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert browser.post("/subscribe", data=FORM, headers=headers).status_code == 403
    assert browser.post("/subscribe", data=FORM, headers={"sec-fetch-site": "same-origin"}).status_code == 200
    with database.transaction() as session:
        assert len(accounts.listing(session)) == 1


def test_pages_behind_signed_links_are_not_kept_and_not_told_on(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    for url in (Links(settings).preferences(reader), Links(settings).unsubscribe(reader)):
        answer = browser.get(url.removeprefix("https://papers.example"))
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert re.search(r'name="robots" content="noindex"', answer.text)


def test_a_body_too_large_for_a_form_is_refused(browser: TestClient) -> None:
    assert browser.post("/subscribe", content=b"x" * 300_000).status_code == 413


def test_a_reader_who_is_gone_gets_a_clear_page(browser: TestClient, settings: Settings) -> None:
    assert browser.get(f"/preferences/{Links(settings).token(Purpose.PREFERENCES, 12345)}").status_code == 410
