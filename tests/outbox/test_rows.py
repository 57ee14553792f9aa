from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from sqlalchemy import select, text

from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState
from service.outbox import rows
from service.outbox.claims import Outcome

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def put(
    database: Database,
    kind: DeliveryKind = DeliveryKind.DIGEST,
    count: int = 1,
    due_at: datetime = NOW,
    deadline: datetime | None = None,
) -> list[int]:
    with database.transaction() as session:
        return [
            rows.enqueue(
                session, kind=kind, reader_id=n + 1, mail_domain="papers.example", due_at=due_at, deadline=deadline
            )
            for n in range(count)
        ]


def claim(database: Database, owner: str = "me", limit: int = 100, now: datetime = NOW) -> list[int]:
    return [each.delivery_id for each in rows.claim(database, owner=owner, limit=limit, lease=LEASE, now=now)]


def one(database: Database, delivery_id: int) -> Delivery:
    with database.transaction() as session:
        return session.scalars(select(Delivery).where(Delivery.id == delivery_id)).one()


def test_no_row_is_ever_leased_to_two(database: Database) -> None:
    ids = put(database, count=400)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: claim(database, f"owner{n}", limit=30), range(24)))
    flat = [each for batch in taken for each in batch]
    assert len(flat) == len(set(flat))
    assert set(flat) | set(claim(database)) == set(ids)


def test_transactional_mail_overtakes_digests_and_earlier_goes_first(database: Database) -> None:
    late = put(database)[0]
    early = put(database, due_at=NOW - timedelta(hours=1))[0]
    letter = put(database, DeliveryKind.CONFIRM)[0]
    assert claim(database, limit=2) == [letter, early]
    assert claim(database) == [late]


def test_what_is_not_due_or_too_late_is_not_claimed(database: Database) -> None:
    put(database, due_at=NOW + timedelta(seconds=1))
    put(database, deadline=NOW)
    assert claim(database) == []


def test_a_claim_carries_what_the_sender_needs(database: Database) -> None:
    (delivery_id,) = put(database, deadline=NOW + timedelta(hours=20))
    (taken,) = rows.claim(database, owner="me", limit=5, lease=LEASE, now=NOW)
    stored = one(database, delivery_id)
    assert taken.message_id == stored.message_id
    assert (taken.attempts, stored.attempts) == (0, 1)
    assert stored.lease_until == NOW + LEASE


@pytest.mark.parametrize(
    ("outcome", "attempts", "waiting"),
    [
        (DeliveryState.SENT, 1, False),
        (DeliveryState.FAILED, 1, False),
        (DeliveryState.CANCELLED, 1, False),
        (DeliveryState.UNCERTAIN, 1, False),
        (DeliveryState.DEFERRED, 1, True),
        (DeliveryState.QUEUED, 0, True),
    ],
)
def test_settling_records_the_end_of_a_try(
    database: Database, outcome: DeliveryState, attempts: int, waiting: bool
) -> None:
    (delivery_id,) = put(database)
    claim(database)
    later = NOW + timedelta(minutes=3) if waiting else None
    assert rows.settle(database, "me", [Outcome(delivery_id, outcome, "250 2.0.0 fine", later)], now=NOW) == 1
    stored = one(database, delivery_id)
    assert (stored.state, stored.attempts, stored.reply) == (outcome, attempts, "250 2.0.0 fine")
    assert (stored.lease_owner, stored.lease_until) == (None, None)
    assert (stored.settled_at is None) == waiting
    assert stored.due_at == (later or NOW)


def test_a_lost_lease_settles_nothing_but_an_acceptance(database: Database) -> None:
    first, second = put(database, count=2)
    claim(database, "slow")
    rows.sweep(database, now=NOW + LEASE * 2)
    claim(database, "quick", now=NOW + LEASE * 2)
    rows.settle(database, "slow", [Outcome(first, DeliveryState.FAILED, "x"), Outcome(second, DeliveryState.SENT, "y")])
    assert one(database, first).state == DeliveryState.SENDING
    assert one(database, second).state == DeliveryState.SENT
    rows.settle(database, "quick", [Outcome(second, DeliveryState.DEFERRED, "z", NOW)])
    assert one(database, second).state == DeliveryState.SENT


def test_a_sweep_gives_back_what_dead_senders_held_and_ends_what_is_late(database: Database) -> None:
    (held,) = put(database)
    claim(database)
    (late,) = put(database, deadline=NOW + timedelta(minutes=1))
    assert rows.sweep(database, now=NOW) == rows.SweepReport(released=0, late=0, uncertain=0)
    assert rows.sweep(database, now=NOW + LEASE * 2) == rows.SweepReport(released=1, late=1, uncertain=0)
    assert one(database, held).state == DeliveryState.QUEUED
    assert "given up at its deadline" in (one(database, late).reply or "")


@pytest.mark.parametrize(("wish", "state"), [("repeat", DeliveryState.QUEUED), ("drop", DeliveryState.FAILED)])
def test_uncertain_rows_follow_the_setting_and_keep_their_message_id(
    database: Database, wish: Literal["repeat", "drop"], state: DeliveryState
) -> None:
    (delivery_id,) = put(database)
    message_id = one(database, delivery_id).message_id
    claim(database)
    rows.settle(database, "me", [Outcome(delivery_id, DeliveryState.UNCERTAIN, "no reply")])
    assert rows.sweep(database, uncertain=wish).uncertain == 1
    assert one(database, delivery_id).state == state
    assert one(database, delivery_id).message_id == message_id


def test_cancelling_for_a_reader_stops_what_waits(database: Database) -> None:
    first, _ = put(database, count=2)
    with database.transaction() as session:
        assert rows.cancel_for_reader(session, 1, "unsubscribed") == 1
        assert rows.counts(session) == {DeliveryState.CANCELLED: 1, DeliveryState.QUEUED: 1}
    assert one(database, first).reply == "unsubscribed"


def test_message_ids_are_many_and_all_different() -> None:
    made = [each.decode() for each in rows.message_ids("papers.example", 10_000).tolist()]
    assert len(set(made)) == 10_000
    assert all(each.endswith("@papers.example") and each.isascii() and " " not in each for each in made)


def test_a_message_that_is_never_answered_is_repeated_ever_later_and_not_for_ever(database: Database) -> None:
    (delivery_id,) = put(database)
    moment, waits = NOW, []
    for _ in range(rows.UNANSWERED_LIMIT):
        assert claim(database, now=moment) == [delivery_id]
        rows.settle(database, "me", [Outcome(delivery_id, DeliveryState.UNCERTAIN, "no answer")], now=moment)
        rows.sweep(database, now=moment)
        waits.append(one(database, delivery_id).due_at - moment)
        moment = max(moment, one(database, delivery_id).due_at)
    assert waits[0] == timedelta(0), "most often it was our sender that died"
    assert waits[1] >= timedelta(minutes=2)
    given_up = one(database, delivery_id)
    assert given_up.state == "failed"
    assert given_up.reply == "not repeated again, the relay may have it; no answer"
    assert claim(database, now=moment + timedelta(days=1)) == []


def test_what_is_due_is_read_in_the_order_of_its_index_and_never_sorted(database: Database) -> None:
    with database.connection() as connection:
        # Of an empty table everything is cheap: what counts is whether the index can give the order at all.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        values = {"owner": "a", "until": NOW, "now": NOW, "limit": 500}
        plan = "\n".join(connection.scalars(text("EXPLAIN " + rows.CLAIM.text), values))

    assert "_priority_due_at_id_idx" in plan, "a month's part of ix_delivery_due"
    # The months' indexes are merged, each in its order.
    assert "Merge Append" in plan
    assert "->  Sort" not in plan
