from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from service.database import Database
from service.database.tables import ConsentEvent, Delivery, DeliveryKind, DeliveryState, Reader, ReaderState
from service.matching.language import QueryError
from service.settings import Settings
from service.subscribers import accounts, addresses, erasure, interests, suppression
from service.subscribers.accounts import AccountError, Preferences, Signup
from service.subscribers.addresses import AddressError
from service.subscribers.consent import Visit
from service.subscribers.interests import InterestError, UnknownTopic, Wish
from service.subscribers.tokens import ExpiredToken, ForgedToken, Links, Purpose
from service.subscribers.topics import catalogue
from tests import factories

HERE = Visit("test", "192.0.2.1", "a browser")


def subscribe(
    database: Database, settings: Settings, email: str = "ada@example.org", queries: Sequence[str] = ("robots",),
    now: datetime | None = None,
) -> int:  # fmt: skip
    with database.transaction() as session:
        signup = Signup(email=email, wishes=interests.from_queries(queries), visit=HERE)
        return accounts.subscribe(session, settings, signup, now=now)


def kinds(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(Delivery.kind).order_by(Delivery.id)))


def events(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(ConsentEvent.kind).order_by(ConsentEvent.id)))


def state(database: Database, reader_id: int) -> ReaderState:
    with database.transaction() as session:
        reader = accounts.get(session, reader_id)
    assert reader is not None
    return reader.state


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        ("x@bücher.example", "X@xn--bcher-kva.example"),
        (" a@b.example ", "a@b.example"),
    ],
)
def test_two_spellings_of_an_address_are_one(one: str, other: str) -> None:
    assert addresses.parse(one).key == addresses.parse(other).key


@pytest.mark.parametrize(
    "text",
    ["", "ada", "ada@", "@example.org", "a b@example.org", "a@b@example.org", "a@localhost.invalid", "a@[192.0.2.1]",
     "a@example.org\nBcc: b@example.org", "a@exam ple.org", "x" * 65 + "@example.org", "a@" + "x" * 250 + ".org",
     "a\x00@example.org", "a@-example.org", "a@example"],
)  # fmt: skip
def test_an_address_that_cannot_receive_mail_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        addresses.parse(text)
    assert "\n" not in str(caught.value)
    assert "write it like" in str(caught.value)


def test_a_hash_of_an_address_needs_the_secret(settings: Settings) -> None:
    key = addresses.parse("ada@example.org").key
    other = settings.model_copy(update={"secret": type(settings.secret)("y" * 40)})  # type: ignore[misc]
    assert addresses.hashed(settings, key) == addresses.hashed(settings, key)
    assert addresses.hashed(settings, key) != addresses.hashed(other, key)


# ---- links -----------------------------------------------------------------------------------------------------------


def test_a_link_is_bound_to_its_purpose_and_to_the_secret(settings: Settings) -> None:
    links = Links(settings)
    for purpose in Purpose:
        token = links.token(purpose, 7)
        assert links.read(purpose, token) == 7
        for other in set(Purpose) - {purpose}:
            with pytest.raises(ForgedToken):
                links.read(other, token)
        with pytest.raises(ForgedToken):
            links.read(purpose, ("A" if token[0] != "A" else "B") + token[1:])


def test_links_expire_but_the_one_to_leave_by(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    links = Links(settings)
    tokens = {purpose: links.token(purpose, 7) for purpose in Purpose}
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 4_000_000_000)
    assert links.read(Purpose.UNSUBSCRIBE, tokens[Purpose.UNSUBSCRIBE]) == 7
    for purpose in (Purpose.CONFIRM, Purpose.PREFERENCES):
        with pytest.raises(ExpiredToken, match="has expired"):
            links.read(purpose, tokens[purpose])


# ---- subscribing -----------------------------------------------------------------------------------------------------


def test_many_subscriptions_of_one_address_at_once_are_one_reader_and_one_mail(
    database: Database, settings: Settings
) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(
            pool.map(
                lambda n: subscribe(database, settings, "Ada@example.org" if n % 2 else "ada@EXAMPLE.org"), range(16)
            )
        )
    assert len(set(ids)) == 1
    assert kinds(database) == [DeliveryKind.CONFIRM]


def test_asking_again_mails_again_only_after_a_while(database: Database, settings: Settings) -> None:
    now = datetime.now(UTC)
    subscribe(database, settings, now=now)
    subscribe(database, settings, now=now + timedelta(hours=23))
    assert kinds(database) == [DeliveryKind.CONFIRM]
    subscribe(database, settings, now=now + timedelta(hours=25))
    assert kinds(database) == [DeliveryKind.CONFIRM] * 2


def test_a_stranger_changes_nothing_of_an_active_reader_who_gets_their_link_at_most_once_an_hour(
    database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    for _ in range(3):
        assert subscribe(database, settings, queries=["fish"]) == reader
    with database.transaction() as session:
        assert [each.label for each in interests.of(session, reader)] == ["robots"]
    assert kinds(database) == [DeliveryKind.SIGN_IN]
    assert state(database, reader) == ReaderState.ACTIVE


def test_a_suppressed_address_gets_no_mail_at_all(database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        digest = addresses.hashed(settings, addresses.parse("ada@example.org").key)
        suppression.add(session, digest, reason="complaint")
        suppression.add(session, digest, reason="hard bounce")
    subscribe(database, settings)
    assert kinds(database) == []
    with pytest.raises(AccountError, match="is suppressed"):
        factories.reader(database, settings, "ada@example.org", queries=["robots"])
    with database.transaction() as session:
        assert suppression.contains(session, digest)
        suppression.remove(session, digest)
        assert not suppression.contains(session, digest)


def test_confirming_makes_the_first_digest_due_at_once_and_looks_back_a_few_days(
    database: Database, settings: Settings
) -> None:
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    for days in (9, 5, 2, 1):
        factories.edition(database, factories.record(), now=now - timedelta(days=days))
    reader_id = subscribe(database, settings, now=now)
    for _ in range(2):
        with database.transaction() as session:
            view = accounts.confirm(session, settings, reader_id, HERE, now=now)
    assert view.next_digest_at == now, "the first digest is due at once"
    with database.transaction() as session:
        assert session.scalars(select(Reader.last_edition_id)).one() == 2
    assert events(database) == ["requested", "confirmed"]
    assert kinds(database) == ["confirm", "welcome"], "welcomed once"


def test_unsubscribing_cancels_what_waits_and_an_old_confirmation_brings_nobody_back(
    database: Database, settings: Settings
) -> None:
    reader_id = subscribe(database, settings)
    for _ in range(2):
        with database.transaction() as session:
            accounts.unsubscribe(session, settings, reader_id, HERE)
    assert state(database, reader_id) == ReaderState.UNSUBSCRIBED
    with database.transaction() as session:
        assert session.scalars(select(Delivery.state)).all() == [DeliveryState.CANCELLED]
    with pytest.raises(AccountError, match="subscribe again"), database.transaction() as session:
        accounts.confirm(session, settings, reader_id, HERE)
    assert events(database) == ["requested", "unsubscribed"]
    subscribe(database, settings)
    assert state(database, reader_id) == ReaderState.PENDING


def test_what_is_wrong_with_a_signup_leaves_no_trace(database: Database, settings: Settings) -> None:
    bad: list[tuple[type[Exception], Signup]] = [
        (AddressError, Signup("nobody")),
        (QueryError, Signup("ada@example.org", [Wish("x", "robots AND (")])),
        (InterestError, Signup("ada@example.org", [Wish(str(n), f"w{n}") for n in range(101)])),
        (AccountError, Signup("ada@example.org", preferences=Preferences(paper_limit=99))),
        (UnknownTopic, Signup("ada@example.org")),  # the default topic, before any catalogue was stored
    ]
    for kind, signup in bad:
        with pytest.raises(kind), database.transaction() as session:
            accounts.subscribe(session, settings, signup)
    with database.transaction() as session:
        assert accounts.count(session) == {}


def test_a_reader_who_chose_nothing_follows_the_daily_papers(database: Database, settings: Settings) -> None:
    catalogue.sync(database)
    reader_id = subscribe(database, settings, queries=[])
    with database.transaction() as session:
        assert [each.topic_slug for each in interests.of(session, reader_id)] == ["daily-papers"]


def test_new_preferences_move_the_next_slot(database: Database, settings: Settings) -> None:
    reader_id = factories.reader(database, settings, queries=["robots"])
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    with database.transaction() as session:
        view = accounts.update(
            session, reader_id, settings, Preferences(hour=20, timezone="Asia/Tokyo", weekdays=1), now=now
        )
    assert view.next_digest_at == datetime(2026, 11, 30, 11, 0, tzinfo=UTC)


def test_erasing_leaves_only_the_record_of_consent(database: Database, settings: Settings) -> None:
    reader_id = subscribe(database, settings)
    with database.transaction() as session:
        erasure.erase(session, settings, reader_id, HERE)
    with database.transaction() as session:
        assert accounts.find(session, "ada@example.org") is None
        assert session.scalars(select(Delivery)).all() == []
    assert events(database) == ["requested", "deleted"]


@pytest.mark.parametrize("statement", ["UPDATE consent_event SET wording = ''", "DELETE FROM consent_event"])
def test_the_record_of_consent_cannot_be_changed(database: Database, settings: Settings, statement: str) -> None:
    subscribe(database, settings)
    with pytest.raises(DBAPIError, match="append-only"), database.connection() as connection:
        connection.execute(text(statement))


# ---- interests -------------------------------------------------------------------------------------------------------


def test_interests_are_replaced_whole_or_not_at_all(database: Database, settings: Settings) -> None:
    reader_id = factories.reader(database, settings, queries=["robots", "fish"])
    with pytest.raises(QueryError), database.transaction() as session:
        interests.replace(session, reader_id, [Wish("birds", "birds"), Wish("bad", "(")])
    with database.transaction() as session:
        interests.replace(
            session, reader_id, [Wish("birds", "birds"), Wish("BIRDS", "bird"), Wish("fish!", "fish", muted=True)]
        )
        found = {(each.label, each.muted) for each in interests.of(session, reader_id)}
    assert found == {("birds", False), ("fish!", True)}


def test_an_unknown_topic_is_told_with_those_it_might_be(database: Database) -> None:
    catalogue.sync(database)
    with database.transaction() as session, pytest.raises(UnknownTopic, match="did you mean reinforcement-learning"):
        interests.from_topics(session, ["reinforcment-learning"])
