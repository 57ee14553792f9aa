"""The preference centre, signing in, and what only who is signed in may do, through HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import select, update

from service.database import Database
from service.database.tables import (
    AddressChange,
    ConsentEvent,
    Delivery,
    DeliveryKind,
    Letter,
    Reader,
    ReaderState,
    ReturnKind,
    Weight,
)
from service.delivery.recheck import recheck
from service.digests import plan
from service.mails.compose import Composed, Composer, Withheld
from service.outbox import letters, rows
from service.settings import Settings
from service.subscribers import (
    address_change,
    addresses,
    erasure,
    feedback,
    interests,
    returned,
    sign_in,
    suppression,
)
from service.subscribers.accounts import AccountError
from service.subscribers.consent import Visit
from service.subscribers.returned import Return
from service.subscribers.tokens import Links, Purpose, TokenError
from service.web.readers.account import COOKIE
from tests import factories

HERE = "https://papers.example"
FORM = {"topic": ["language-models"], "queries": "robots", "hour": "6", "timezone": "Europe/Berlin", "weekday": ["0"],
        "limit": "5"}  # fmt: skip


def path(url: str) -> str:
    return url.removeprefix(HERE)


def stored(database: Database, reader_id: int) -> Reader:
    with database.transaction() as session:
        return session.scalars(select(Reader).where(Reader.id == reader_id)).one()


def kinds(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(Delivery.kind).order_by(Delivery.id)))


def enter(browser: TestClient, settings: Settings, reader_id: int) -> None:
    answer = browser.post(path(Links(settings).sign_in(reader_id)))
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")


def composed(database: Database, settings: Settings) -> list[Composed | Withheld]:
    claims = rows.claim(database, owner="test", limit=100, lease=timedelta(minutes=5))
    with database.transaction() as session:
        return Composer(settings).compose(session, claims)


def at_once(act: Callable[[], object], error: type[Exception]) -> int:
    """How many of four who do the same at the same moment succeed; the others get ``error``."""

    def tried(_: int) -> bool:
        try:
            act()
        except error:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(tried, range(4)))


@pytest.fixture
def reader(database: Database, settings: Settings) -> int:
    return factories.reader(database, settings, "ada@example.org", queries=["robots"])


# ---- signing in ------------------------------------------------------------------------------------------------------


def test_a_sign_in_link_works_once_by_post_and_opens_a_guarded_session(
    browser: TestClient, settings: Settings, reader: int
) -> None:
    assert browser.get("/account").headers["location"] == "/sign-in"
    link = path(Links(settings).sign_in(reader))
    for _ in range(2):
        assert browser.get(link).status_code == 200, "a scanner's look spends nothing"
    cookie = browser.post(link).headers["set-cookie"]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/account"} <= set(cookie.split("; "))
    page = browser.get("/account")
    assert page.status_code == 200
    assert "ada@example.org" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert browser.post(link).status_code == 404, "it worked once"
    assert {browser.post(each).status_code for each in factories.spellings(link)} == {404}, "however it is spelled"


def test_a_session_is_over_after_twelve_hours(
    browser: TestClient, settings: Settings, reader: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(browser, settings, reader)
    # As from a browser that keeps a cookie beyond its age.
    kept = {"cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}
    browser.cookies.clear()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 12 * 3600 - 60)
    assert browser.get("/account", headers=kept).status_code == 200
    monkeypatch.setattr(time, "time", lambda: now + 12 * 3600 + 60)
    assert browser.get("/account", headers=kept).headers["location"] == "/sign-in"


def test_of_those_who_spend_a_link_at_once_one_is_signed_in(
    database: Database, settings: Settings, reader: int
) -> None:
    token = Links(settings).token(Purpose.SIGN_IN, reader)

    def spend() -> None:
        with database.transaction() as session:
            sign_in.use(session, settings, token)

    assert at_once(spend, TokenError) == 1


def test_a_crash_before_the_session_leaves_the_link_unspent(
    database: Database, settings: Settings, reader: int
) -> None:
    token = Links(settings).token(Purpose.SIGN_IN, reader)

    def killed() -> None:
        with database.transaction() as session:
            sign_in.use(session, settings, token)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        killed()
    with database.transaction() as session:
        assert sign_in.use(session, settings, token) == reader


def test_signing_out_ends_every_session_and_a_forged_cookie_opens_nothing(
    browser: TestClient, settings: Settings, reader: int
) -> None:
    enter(browser, settings, reader)
    kept = browser.cookies[COOKIE]
    assert browser.post("/account/sign-out").status_code == 200
    for cookie in (kept, kept[:-2] + "xx", Links(settings).token(Purpose.PREFERENCES, reader), "nonsense"):
        browser.cookies.clear()
        browser.cookies.set(COOKIE, cookie, domain="papers.example", path="/account")
        assert browser.get("/account").status_code == 303


def test_asking_for_a_link_tells_nobody_who_is_subscribed_and_mails_at_most_once(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, "ada@example.org", queries=["robots"])
    answers = {
        browser.post("/sign-in", data={"email": email}).content
        for email in ("ada@example.org", "ADA@example.org", "nobody@example.org")
    }
    assert len(answers) == 1
    assert kinds(database) == ["sign-in"]
    assert browser.post("/sign-in", data={"email": "nonsense"}).status_code == 400


def test_another_site_cannot_post_with_a_readers_session(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    enter(browser, settings, reader)
    assert browser.post("/account/delete", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert stored(database, reader).state == ReaderState.ACTIVE


@pytest.mark.parametrize(
    ("purpose", "methods"),
    [
        (Purpose.SIGN_IN, ("get", "post")),
        (Purpose.ADDRESS, ("get", "post")),
        (Purpose.LESS, ("post",)),
        (Purpose.PREFERENCES, ("get", "post")),
    ],
)
def test_forged_expired_and_foreign_links_are_refused_and_change_nothing(
    browser: TestClient,
    database: Database,
    settings: Settings,
    reader: int,
    monkeypatch: pytest.MonkeyPatch,
    purpose: Purpose,
    methods: tuple[str, ...],
) -> None:
    links = Links(settings)
    good = links.token(purpose, reader)
    bad = [good[:-3] + "abc", *(links.token(other, reader) for other in Purpose if other is not purpose)]

    def ask(method: str, token: str) -> int:
        if method == "get":
            return int(browser.get(f"/{purpose}/{token}").status_code)
        return int(browser.post(f"/{purpose}/{token}", data={"how": "weekly", **FORM}).status_code)

    def columns() -> dict[str, object]:
        row = stored(database, reader)
        return {column.key: getattr(row, column.key) for column in Reader.__table__.columns}

    before = columns()
    assert {ask(method, token) for method in methods for token in bad} == {404}
    with monkeypatch.context() as later:
        later.setattr("itsdangerous.timed.time.time", lambda: 4_000_000_000)
        assert {ask(method, good) for method in methods} == {410}
    assert columns() == before


# ---- preferences -----------------------------------------------------------------------------------------------------


def test_the_link_of_a_digest_changes_mails_but_opens_no_account(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    link = path(Links(settings).preferences(reader))
    with database.transaction() as session:
        (held,) = interests.of(session, reader)
    change = FORM | {
        "cadence": "weekly", "week_day": "5", "abstracts": "full", "form": "text", "trending": "no",
        f"weight-{held.query_id}": "more", f"instant-{held.query_id}": "yes",
    }  # fmt: skip
    assert "Saved" in browser.post(link, data=change).text
    row = stored(database, reader)
    said = (row.cadence, row.weekdays, row.abstracts, row.plain_text, row.trending)
    assert said == ("weekly", 0b100000, "full", True, False)
    with database.transaction() as session:
        robots = next(each for each in interests.of(session, reader) if each.label == "robots")
    assert (robots.weight, robots.instant) == (Weight.MORE, True)
    page = html.fromstring(browser.get(link).text)
    assert page.xpath("//select[@name='week_day']/option[@selected]/@value") == ["5"]
    assert page.xpath(f"//select[@name='weight-{held.query_id}']/option[@selected]/@value") == ["more"]
    assert page.xpath(f"//input[@name='instant-{held.query_id}']/@checked")
    assert not page.xpath("//a[starts-with(@href, '/account')]")


def test_a_topic_is_muted_and_heard_again_without_losing_it(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    link = path(Links(settings).preferences(reader))
    browser.post(link, data=FORM)
    with database.transaction() as session:
        topic = next(each for each in interests.of(session, reader) if each.topic_slug)
    for said, muted in (("mute", True), ("less", False)):
        change = FORM | {f"weight-{topic.query_id}": said, f"topic-{topic.query_id}": "yes"}
        assert browser.post(link, data=change).status_code == 200
        with database.transaction() as session:
            held = {each.label: each.muted for each in interests.of(session, reader)}
        assert held == {topic.label: muted, "robots": False}


@pytest.mark.parametrize("day", ["yesterday", "2020-01-01", "2199-01-01"])
def test_a_pause_that_cannot_be_is_a_400_and_changes_nothing(
    browser: TestClient, database: Database, settings: Settings, reader: int, day: str
) -> None:
    answer = browser.post(path(Links(settings).preferences(reader)), data=FORM | {"pause": day})
    assert answer.status_code == 400
    row = stored(database, reader)
    assert (row.paused_until, row.digest_hour) == (None, 7)


def test_history_leads_to_each_digests_page(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    factories.edition(database, factories.record("Robots"))
    plan.plan_due(database, settings, everyone=True)
    page = html.fromstring(browser.get(path(Links(settings).preferences(reader)) + "/digests").text)
    (url,) = page.xpath("//td/a/@href")
    assert "Robots" in browser.get(url).text


def test_the_link_asked_for_on_the_preferences_page_goes_to_the_readers_own_address(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    link = path(Links(settings).preferences(reader)) + "/sign-in"
    assert browser.get(link).status_code == 405
    for _ in range(2):
        assert browser.post(link).status_code == 200
    assert kinds(database) == ["sign-in"]


# ---- leaving, and less -----------------------------------------------------------------------------------------------


def test_less_is_offered_only_after_leaving(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    link = path(Links(settings).unsubscribe(reader))
    assert "/less/" not in browser.get(link).text
    (less,) = html.fromstring(browser.post(link).text).xpath("//form/@action")
    assert browser.get(less).status_code == 405
    assert browser.post(less, data={"how": "daily"}).status_code == 422
    assert stored(database, reader).state == ReaderState.UNSUBSCRIBED
    assert browser.post(less, data={"how": "weekly"}).status_code == 200
    row = stored(database, reader)
    assert (row.state, row.cadence, row.weekdays) == (ReaderState.ACTIVE, "weekly", 1)
    with database.transaction() as session:
        events = list(session.scalars(select(ConsentEvent.kind).order_by(ConsentEvent.id)))
    assert events == ["entered", "unsubscribed", "resumed"]


def test_who_complained_cannot_be_brought_back_by_the_page(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    with database.transaction() as session:
        returned.take(session, settings, Return(ReturnKind.COMPLAINT, "test", "one", reader_id=reader))
    token = Links(settings).token(Purpose.LESS, reader)
    assert browser.post(f"/less/{token}", data={"how": "pause"}).status_code == 410
    assert stored(database, reader).state == ReaderState.UNSUBSCRIBED


# ---- another address -------------------------------------------------------------------------------------------------


def test_an_address_moves_when_the_new_one_confirms_and_the_old_one_is_told(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    enter(browser, settings, reader)
    assert browser.post("/account/address", data={"email": "nonsense"}).status_code == 400
    assert browser.post("/account/address", data={"email": "Ada@New.example.org"}).status_code == 200
    (mail,) = composed(database, settings)
    assert isinstance(mail, Composed)
    assert mail.recipient == "Ada@new.example.org"
    with database.transaction() as session:
        change = session.scalars(select(AddressChange)).one()
    link = path(Links(settings).address(change.id))
    assert "Ada@new.example.org" in browser.get(link).text
    assert stored(database, reader).email == "ada@example.org", "a look changes nothing"
    assert browser.post(link).status_code == 200
    assert stored(database, reader).email == "Ada@new.example.org"
    (notice,) = composed(database, settings)
    assert isinstance(notice, Composed)
    assert notice.recipient == "ada@example.org"
    assert browser.post(link).status_code == 410, "a second click finds nothing to do"
    assert browser.get("/account").status_code == 303, "signed out everywhere"
    old_link = path(Links(settings).preferences(reader))
    assert browser.get(old_link).status_code == 200, "links in old digests go on working"


def test_a_newer_wish_makes_the_older_link_dead_and_another_readers_address_is_not_taken(
    database: Database, settings: Settings, reader: int
) -> None:
    factories.reader(database, settings, "taken@example.org", queries=["fish"])
    ids = []
    for hours, email in enumerate(("one@example.org", "taken@example.org")):
        with database.transaction() as session:
            now = datetime.now(UTC) + timedelta(hours=hours)
            address_change.request(session, settings, reader, email, now=now)
            ids.append(session.scalars(select(AddressChange.id)).one())
    for change in ids:
        with pytest.raises(AccountError), database.transaction() as session:
            address_change.complete(session, settings, change, Visit("test"))
    assert stored(database, reader).email == "ada@example.org"


def test_nobodys_inbox_is_filled_by_wishing_for_their_address(
    database: Database, settings: Settings, reader: int
) -> None:
    now = datetime.now(UTC)

    def wish(minutes: int) -> None:
        with database.transaction() as session:
            address_change.request(session, settings, reader, "eve@example.org", now=now + timedelta(minutes=minutes))

    wish(-31)
    with database.transaction() as session:
        session.execute(update(Delivery).values(created_at=now - timedelta(minutes=31)))
    wish(0)
    for minutes in (0, 1, 29):
        with pytest.raises(AccountError, match="half an hour"):
            wish(minutes)
    assert kinds(database).count("address-confirm") == 2


def test_clicks_at_once_move_once_and_tell_once(database: Database, settings: Settings, reader: int) -> None:
    with database.transaction() as session:
        address_change.request(session, settings, reader, "new@example.org")
        change = session.scalars(select(AddressChange.id)).one()

    def click() -> None:
        with database.transaction() as session:
            address_change.complete(session, settings, change, Visit("test"))

    assert at_once(click, AccountError) == 1
    assert kinds(database).count("address-notice") == 1


def test_what_bounces_at_a_wished_address_does_not_touch_the_reader(
    database: Database, settings: Settings, reader: int
) -> None:
    with database.transaction() as session:
        address_change.request(session, settings, reader, "gone@example.org")
        delivery = session.scalars(select(Delivery.id)).one()
        event = Return(ReturnKind.HARD_BOUNCE, "test", "one", delivery_id=delivery, code="5.1.1")
        returned.take(session, settings, event)
        assert suppression.contains(session, addresses.hashed(settings, "gone@example.org"))
        assert not suppression.contains(session, addresses.hashed(settings, "ada@example.org"))
    assert stored(database, reader).state == ReaderState.ACTIVE


# ---- data, and the end -----------------------------------------------------------------------------------------------


def test_the_export_holds_everything_about_the_reader_and_no_secret(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    factories.edition(database, factories.record("Robots That Learn"))
    plan.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        feedback.give(session, reader, 1, liked=False)
    factories.reader(database, settings, "other@example.org", queries=["fish"])
    enter(browser, settings, reader)
    answer = browser.get("/account/data.json")
    assert answer.headers["content-disposition"].startswith("attachment")
    data = json.loads(answer.text)
    assert data["reader"]["email"] == "ada@example.org"
    assert [each["label"] for each in data["interests"]] == ["robots"]
    assert data["digests"][0]["papers"] == ["Robots That Learn"]
    assert (data["feedback"][0]["paper"], data["feedback"][0]["liked"]) == ("Robots That Learn", False)
    assert [each["kind"] for each in data["consent"]] == ["entered"]
    assert [each["kind"] for each in data["mails"]] == ["digest"]
    assert "other@example.org" not in answer.text
    assert "address_hash" not in answer.text


def test_deleting_leaves_nothing_but_consent_and_one_goodbye_that_is_forgotten_when_sent(
    browser: TestClient, database: Database, settings: Settings, reader: int
) -> None:
    factories.edition(database, factories.record("Robots"))
    plan.plan_due(database, settings, everyone=True)
    enter(browser, settings, reader)
    assert browser.get("/account/delete").status_code == 200
    assert kinds(database) == ["digest"]
    assert browser.post("/account/delete").status_code == 200
    assert browser.post("/account/delete").status_code == 303, "nobody is signed in any more"
    with database.transaction() as session:
        assert session.scalars(select(Reader)).all() == []
    claims = rows.claim(database, owner="sender", limit=10, lease=timedelta(minutes=5))
    assert [claim.kind for claim in claims] == [DeliveryKind.GOODBYE]
    with database.transaction() as session:
        (mail,) = Composer(settings).compose(session, claims)
        assert recheck(session, settings, "sender", [claims[0].delivery_id]).entitled == {claims[0].delivery_id}
    assert isinstance(mail, Composed)
    assert mail.recipient == "ada@example.org"
    assert b"1 digest" in mail.content
    letters.prune(database)
    with database.transaction() as session:
        assert len(session.scalars(select(Letter)).all()) == 1, "not before it is sent"
    with database.connection() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'sent', settled_at = now()")
    letters.prune(database)
    with database.transaction() as session:
        assert session.scalars(select(Letter)).all() == []
        assert session.scalars(select(Delivery)).all() == []


def test_a_goodbye_to_an_address_suppressed_meanwhile_is_not_sent(
    database: Database, settings: Settings, reader: int
) -> None:
    with database.transaction() as session:
        erasure.erase(session, settings, reader, Visit("test"), goodbye=True)
        suppression.add(session, addresses.hashed(settings, "ada@example.org"), reason="complaint")
    claims = rows.claim(database, owner="sender", limit=10, lease=timedelta(minutes=5))
    with database.transaction() as session:
        assert isinstance(Composer(settings).compose(session, claims)[0], Withheld)
        assert recheck(session, settings, "sender", [claims[0].delivery_id]).entitled == set()
