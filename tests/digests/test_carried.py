"""What could not be delivered comes with the next digest, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import func, select, update

from service.database import Database
from service.database.tables import CarriedOver, Delivery, DeliveryState, Digest
from service.digests import carried, plan
from service.outbox import rows
from service.outbox.claims import Outcome
from service.settings import Settings
from tests import factories

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FIRST = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
SECOND, THIRD = FIRST + timedelta(days=1), FIRST + timedelta(days=2)


def digests(database: Database) -> list[Digest]:
    with database.transaction() as session:
        return list(session.scalars(select(Digest).order_by(Digest.slot)))


def carried_over(database: Database) -> int:
    with database.transaction() as session:
        return session.scalars(select(func.count()).select_from(CarriedOver)).one()


@pytest.fixture
def reader(database: Database, settings: Settings) -> int:
    """With a digest of one paper planned for the first slot."""
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots One"), now=NOON)
    assert plan.plan_due(database, settings, now=FIRST).digests == 1
    return reader


def test_given_up_at_its_deadline_it_comes_with_the_next(database: Database, settings: Settings, reader: int) -> None:
    assert rows.sweep(database, now=SECOND).late == 1
    assert carried_over(database) == 1
    factories.edition(database, factories.record("Robots Two"), now=SECOND)
    assert plan.plan_due(database, settings, now=SECOND).digests == 1
    first, second = digests(database)
    assert second.paper_ids == [2, 1], "the news first"
    assert second.reason_papers == [0, 1]
    assert len(set(second.reason_queries)) == 1
    assert (second.first_edition_id, second.last_edition_id, second.matched) == (1, 2, 2)
    assert carried_over(database) == 0
    assert first.reader_id == second.reader_id == reader


def test_it_comes_alone_where_nothing_is_new(database: Database, settings: Settings, reader: int) -> None:
    rows.sweep(database, now=SECOND)
    assert plan.plan_due(database, settings, now=SECOND).digests == 1
    second = digests(database)[1]
    assert (second.reader_id, second.paper_ids, second.matched) == (reader, [1], 1)
    with database.transaction() as session:
        delivery = session.scalars(select(Delivery).where(Delivery.digest_id == second.id)).one()
    assert delivery.state == "queued"
    assert delivery.deadline == second.slot + timedelta(hours=settings.deadline_hours)
    assert plan.plan_due(database, settings, now=THIRD).digests == 0


def test_what_is_carried_over_twice_is_still_there_once(database: Database, settings: Settings, reader: int) -> None:
    for moment in (SECOND, THIRD):
        rows.sweep(database, now=moment)
        plan.plan_due(database, settings, now=moment)
    *_, last = digests(database)
    assert (last.reader_id, last.paper_ids, last.matched) == (reader, [1], 1)
    assert carried_over(database) == 0


def test_given_up_after_its_tries_it_is_carried_over_in_the_same_statement(
    database: Database, settings: Settings, reader: int
) -> None:
    (claim,) = rows.claim(database, owner="me", limit=5, lease=timedelta(minutes=5), now=FIRST)
    assert claim.reader_id == reader
    outcome = Outcome(claim.delivery_id, DeliveryState.FAILED, "given up after 12 tries", carried_over=True)
    assert rows.settle(database, "me", [outcome], now=FIRST) == 1
    assert rows.settle(database, "me", [outcome], now=FIRST) == 0
    assert carried_over(database) == 1
    assert plan.plan_due(database, settings, now=SECOND).digests == 1


def test_what_the_relay_may_have_is_not_carried_over(database: Database, settings: Settings, reader: int) -> None:
    (claim,) = rows.claim(database, owner="me", limit=5, lease=timedelta(minutes=5), now=FIRST)
    rows.settle(database, "me", [Outcome(claim.delivery_id, DeliveryState.UNCERTAIN, "no answer")], now=FIRST)
    rows.sweep(database, now=FIRST)
    assert rows.sweep(database, now=SECOND).late == 1
    assert carried_over(database) == 0
    assert plan.plan_due(database, settings, now=SECOND).digests == 0
    assert reader


def test_a_digest_that_was_there_before_is_left_alone(database: Database, settings: Settings, reader: int) -> None:
    """It may be on its way: what is carried over waits for the next slot."""
    rows.sweep(database, now=SECOND)
    factories.edition(database, factories.record("Robots Two"), now=SECOND)
    with database.transaction() as session:
        session.add(
            Digest(
                reader_id=reader, slot=datetime(2026, 11, 26, 7, 0, tzinfo=UTC), first_edition_id=1,
                last_edition_id=1, paper_ids=[1], reason_papers=[], reason_queries=[], matched=1,
            )
        )  # fmt: skip
    assert plan.plan_due(database, settings, now=SECOND).digests == 0
    assert carried_over(database) == 1
    assert plan.plan_due(database, settings, now=THIRD).digests == 1
    assert digests(database)[-1].paper_ids == [2, 1]


def test_a_crash_before_the_commit_leaves_it_carried_over(database: Database, settings: Settings, reader: int) -> None:
    rows.sweep(database, now=SECOND)

    def crash() -> None:
        with database.transaction() as session:
            assert carried.fold(session, settings, np.array([reader]), lambda _: SECOND, SECOND) == 1
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        crash()
    assert carried_over(database) == 1
    assert len(digests(database)) == 1


def test_weeks_without_delivery_do_not_make_an_endless_digest(
    database: Database, settings: Settings, reader: int
) -> None:
    with database.transaction() as session:
        session.execute(update(Digest).values(paper_ids=list(range(1, 101)), matched=100))
    rows.sweep(database, now=SECOND)
    plan.plan_due(database, settings, now=SECOND)
    last = digests(database)[-1]
    assert (last.reader_id, len(last.paper_ids)) == (reader, carried.MOST_PAPERS)
    assert max(last.reason_papers, default=0) < carried.MOST_PAPERS
