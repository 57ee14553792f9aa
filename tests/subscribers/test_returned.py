"""What comes back, and what becomes of its reader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from service.database import Database
from service.database.tables import (
    ConsentEvent,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Reader,
    ReaderState,
    ReturnEvent,
    ReturnKind,
    SuppressionReason,
)
from service.outbox import rows
from service.settings import Settings
from service.subscribers import accounts, addresses, erasure, returned, status_codes, suppression
from service.subscribers.accounts import AccountError, Signup
from service.subscribers.consent import Visit
from service.subscribers.interests import Wish
from service.subscribers.returned import Return, Taken
from tests import factories

HERE = Visit("test")
ADA = "ada@example.org"


def ada(database: Database, settings: Settings, *, confirmed_days_ago: int = 30) -> int:
    when = datetime.now(UTC) - timedelta(days=confirmed_days_ago)
    return factories.reader(database, settings, ADA, queries=["robots"], now=when)


def sent(database: Database, reader_id: int, state: DeliveryState = DeliveryState.SENT) -> int:
    with database.transaction() as session:
        delivery_id = rows.enqueue(session, kind=DeliveryKind.DIGEST, reader_id=reader_id, mail_domain="papers.example")
        row = session.get(Delivery, delivery_id)
        assert row is not None
        row.state = state
    return delivery_id


def take(database: Database, settings: Settings, event: Return, now: datetime | None = None) -> Taken:
    with database.transaction() as session:
        return returned.take(session, settings, event, now=now)


def bounce(database: Database, settings: Settings, delivery_id: int, code: str, now: datetime | None = None) -> Taken:
    kind = status_codes.kind_of(code)
    assert kind is not None
    event = Return(kind, "inbound", f"{delivery_id} {code} {now}", delivery_id=delivery_id, code=code)
    return take(database, settings, event, now)


def reason(database: Database, settings: Settings) -> SuppressionReason | None:
    with database.transaction() as session:
        found = suppression.find(session, addresses.hashed(settings, ADA))
    return found.reason if found else None


def state(database: Database, reader_id: int) -> ReaderState:
    with database.transaction() as session:
        found = accounts.get(session, reader_id)
    assert found is not None
    return found.state


def again(database: Database, settings: Settings, now: datetime | None = None) -> int:
    with database.transaction() as session:
        return accounts.subscribe(session, settings, Signup(ADA, [Wish("fish", "fish")]), now=now)


def waiting(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(Delivery.kind).where(Delivery.state == DeliveryState.QUEUED)))


def test_a_hard_bounce_suppresses_at_once_and_takes_the_reader_out_of_the_rounds(
    database: Database, settings: Settings
) -> None:
    reader = ada(database, settings)
    first = sent(database, reader)
    sent(database, reader, DeliveryState.QUEUED)
    assert bounce(database, settings, first, "5.1.1") is Taken.SUPPRESSED
    assert reason(database, settings) is SuppressionReason.HARD_BOUNCE
    assert state(database, reader) is ReaderState.PENDING
    assert waiting(database) == []


def test_the_same_event_twice_counts_once(database: Database, settings: Settings) -> None:
    delivery = sent(database, ada(database, settings))
    assert [bounce(database, settings, delivery, "4.2.2") for _ in range(2)] == [Taken.RECORDED, Taken.KNOWN]
    with database.transaction() as session:
        assert len(session.scalars(select(ReturnEvent)).all()) == 1


def test_soft_bounces_suppress_only_when_enough_fall_on_enough_days(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    start = datetime.now(UTC) - timedelta(days=10)
    # Four on one day are one bad day.
    for _ in range(4):
        assert bounce(database, settings, sent(database, reader), "4.2.2", start) is Taken.RECORDED
    assert bounce(database, settings, sent(database, reader), "5.2.2", start + timedelta(days=1)) is Taken.RECORDED
    assert bounce(database, settings, sent(database, reader), "4.4.1", start + timedelta(days=2)) is Taken.SUPPRESSED
    assert reason(database, settings) is SuppressionReason.SOFT_BOUNCES


def test_a_delivery_between_soft_bounces_starts_the_count_anew(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    start = datetime.now(UTC) - timedelta(days=20)
    for day in range(3):
        bounce(database, settings, sent(database, reader), "4.2.2", start + timedelta(days=day))
    sent(database, reader)  # nothing comes back for this one
    for day in range(3, 6):
        taken = bounce(database, settings, sent(database, reader), "4.2.2", start + timedelta(days=day))
        assert taken is Taken.RECORDED
    assert bounce(database, settings, sent(database, reader), "4.2.2", start + timedelta(days=6)) is Taken.SUPPRESSED


def test_mail_still_on_its_way_is_no_delivery_between(database: Database, settings: Settings) -> None:
    """A relay reports a full mailbox after days; what was sent meanwhile has not arrived yet either."""
    reader = ada(database, settings)
    start = datetime.now(UTC) - timedelta(days=10)
    deliveries = [sent(database, reader) for _ in range(8)]
    taken = [
        bounce(database, settings, delivery, "4.2.2", start + timedelta(days=day))
        for day, delivery in enumerate(deliveries[:4])
    ]
    assert taken == [Taken.RECORDED] * 3 + [Taken.SUPPRESSED]


def test_a_refusal_of_our_content_suppresses_nobody_and_is_counted(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    for number in range(12):
        now = datetime.now(UTC) - timedelta(days=12 - number)
        assert bounce(database, settings, sent(database, reader), "5.7.1", now) is Taken.RECORDED
    assert state(database, reader) is ReaderState.ACTIVE
    with database.transaction() as session:
        since = datetime.now(UTC) - timedelta(days=20)
        assert returned.counts(session, since) == {ReturnKind.REFUSAL: 12}


def test_a_complaint_unsubscribes_and_suppresses_until_an_operator_lifts_it(
    database: Database, settings: Settings
) -> None:
    reader = ada(database, settings)
    delivery = sent(database, reader)
    event = Return(ReturnKind.COMPLAINT, "inbound", "1", delivery_id=delivery)
    assert take(database, settings, event) is Taken.UNSUBSCRIBED
    assert state(database, reader) is ReaderState.UNSUBSCRIBED
    with database.transaction() as session:
        last = session.scalars(select(ConsentEvent).order_by(ConsentEvent.id.desc())).first()
        assert last is not None
        assert (last.kind, last.origin) == ("unsubscribed", "complaint")
    # Not after a month, and not by anybody's sign-up.
    again(database, settings, datetime.now(UTC) + timedelta(days=30))
    assert waiting(database) == []
    with pytest.raises(AccountError, match="came back"), database.transaction() as session:
        accounts.confirm(session, settings, reader, HERE)
    with database.transaction() as session:
        assert returned.lift(session, settings, "ADA@example.org")
    assert state(database, reader) is ReaderState.PENDING
    again(database, settings)
    assert waiting(database) == ["confirm"]


def test_after_a_hard_bounce_a_fresh_opt_in_a_day_later_brings_the_address_back(
    database: Database, settings: Settings
) -> None:
    reader = ada(database, settings)
    bounce(database, settings, sent(database, reader), "5.1.1")
    again(database, settings)
    assert waiting(database) == []  # the bounce is fresh: the address is not tried
    with pytest.raises(AccountError, match="came back"), database.transaction() as session:
        accounts.confirm(session, settings, reader, HERE)
    _age_suppression(database)
    again(database, settings)
    assert waiting(database) == ["confirm"]
    with database.transaction() as session:
        accounts.confirm(session, settings, reader, HERE)
    assert state(database, reader) is ReaderState.ACTIVE
    assert reason(database, settings) is None


def test_a_confirmation_that_bounces_ends_the_trial(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    bounce(database, settings, sent(database, reader), "5.1.1")
    _age_suppression(database)
    again(database, settings)
    with database.transaction() as session:
        confirmation = session.scalars(select(Delivery).where(Delivery.kind == DeliveryKind.CONFIRM)).one()
        confirmation.state = DeliveryState.SENT
    bounce(database, settings, confirmation.id, "5.1.1")
    with database.transaction() as session:
        assert suppression.contains(session, addresses.hashed(settings, ADA))
    again(database, settings)
    assert waiting(database) == []


def _age_suppression(database: Database) -> None:
    with database.connection() as connection:
        connection.execute(text("UPDATE suppression SET at = at - interval '2 days'"))


def test_a_late_bounce_of_a_mail_from_before_the_confirmation_changes_nothing(
    database: Database, settings: Settings
) -> None:
    reader = ada(database, settings)
    old = sent(database, reader)
    with database.transaction() as session:
        row = session.get(Reader, reader)
        assert row is not None
        row.confirmed_at = datetime.now(UTC) + timedelta(seconds=1)
    assert bounce(database, settings, old, "5.1.1") is Taken.RECORDED
    assert state(database, reader) is ReaderState.ACTIVE


def test_an_operator_who_lifts_a_bounce_puts_the_reader_back(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    bounce(database, settings, sent(database, reader), "5.1.1")
    with database.transaction() as session:
        assert returned.lift(session, settings, ADA)
        assert not returned.lift(session, settings, ADA)
    assert state(database, reader) is ReaderState.ACTIVE


def test_an_operator_bars_an_address_and_its_reader_leaves(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    with database.transaction() as session:
        returned.suppress(session, settings, ADA, "asked by letter")
        returned.suppress(session, settings, "nobody@example.org", "asked by letter")
    assert state(database, reader) is ReaderState.UNSUBSCRIBED
    assert reason(database, settings) is SuppressionReason.OPERATOR


def test_the_suppression_survives_the_reader(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    bounce(database, settings, sent(database, reader), "5.1.1")
    with database.transaction() as session:
        erasure.erase(session, settings, reader, HERE)
    again(database, settings)
    assert waiting(database) == []


def test_unsigned_words_are_believed_only_with_the_message_id(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    delivery = sent(database, reader)
    with database.transaction() as session:
        message_id = session.scalars(select(Delivery.message_id).where(Delivery.id == delivery)).one()

    def said(key: str, email: str, about: str | None) -> Taken:
        event = Return(ReturnKind.HARD_BOUNCE, "imap", key, email=email, message_id=about, unsigned=True)
        return take(database, settings, event)

    assert said("1", ADA, None) is Taken.STRANGER
    assert said("2", ADA, "made-up@papers.example") is Taken.STRANGER
    assert said("3", "eve@example.org", message_id) is Taken.STRANGER
    assert said("4", "not an address", message_id) is Taken.STRANGER
    assert said("5", ADA, message_id) is Taken.SUPPRESSED


def test_nothing_is_recorded_of_a_delivery_that_is_gone(database: Database, settings: Settings) -> None:
    assert bounce(database, settings, 4_711, "5.1.1") is Taken.STRANGER


def test_the_record_names_no_address_and_cannot_be_changed(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    delivery = sent(database, reader)
    said = "smtp; 550 5.1.1 <ada@example.org>: Recipient address rejected\r\n User unknown: ADA@Example.ORG\x00"
    event = Return(ReturnKind.HARD_BOUNCE, "inbound", "1", delivery_id=delivery, code="5.1.1", diagnostic=said)
    take(database, settings, event)
    with database.transaction() as session:
        (view,) = returned.of(session, reader)
    assert view.diagnostic == "smtp; 550 5.1.1 <(address)>: Recipient address rejected User unknown: (address)"
    for statement in ("UPDATE return_event SET code = ''", "DELETE FROM return_event"):
        with pytest.raises(DBAPIError, match="append-only"), database.connection() as connection:
            connection.execute(text(statement))


def test_what_the_relay_refuses_in_conversation_follows_the_same_rule(database: Database, settings: Settings) -> None:
    reader = ada(database, settings)
    delivery = sent(database, reader, DeliveryState.SENDING)
    for codes in ("552 5.2.2", "550", "550 5.7.1", "250 2.0.0"):
        with database.transaction() as session:
            returned.refused_in_conversation(session, settings, {delivery: codes})
        assert reason(database, settings) is None
    with database.transaction() as session:
        returned.refused_in_conversation(session, settings, {delivery: "550 5.1.1"})
        returned.refused_in_conversation(session, settings, {delivery: "550 5.1.1"})
    assert reason(database, settings) is SuppressionReason.HARD_BOUNCE


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <ada@example.org>: unknown",
        "550 mailbox 'ada@example.org' is full",
        'smtp; 550 "a b"@example.org and ada+list@example.org',
        "550 ada@example.org\r\nRCPT TO:<ada@example.org>\x00",
        "550 ädä@exämple.org is gone",
    ],
)
def test_what_servers_write_is_recorded_without_addresses(database: Database, settings: Settings, said: str) -> None:
    delivery = sent(database, ada(database, settings))
    take(database, settings, Return(ReturnKind.SOFT_BOUNCE, "inbound", "1", delivery_id=delivery, diagnostic=said))
    with database.transaction() as session:
        (event,) = session.scalars(select(ReturnEvent))
    assert event.diagnostic
    assert "@" not in event.diagnostic
    assert "example.org" not in event.diagnostic
    assert event.diagnostic.isprintable()
