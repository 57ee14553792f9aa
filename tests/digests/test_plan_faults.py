"""Planning when something is wrong with one reader, one clock, or one planner."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState, Digest, Reader
from service.digests import plan
from service.settings import Settings
from service.subscribers.accounts import Preferences
from tests import factories

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SLOT = datetime(2026, 11, 25, 7, 0, tzinfo=UTC)
TOMORROW = SLOT + timedelta(hours=1)


def all_digests(database: Database) -> list[tuple[int, datetime, list[int]]]:
    with database.transaction() as session:
        rows = session.execute(select(Digest.reader_id, Digest.slot, Digest.paper_ids).order_by(Digest.id)).all()
        return [(reader, slot, papers) for reader, slot, papers in rows]


def test_a_slot_already_served_is_not_served_again_and_stops_nobody(database: Database, settings: Settings) -> None:
    served, other = (factories.reader(database, settings, queries=["robots"], now=NOON) for _ in range(2))
    factories.edition(database, factories.record("Robots"), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    factories.edition(database, factories.record("More Robots"), now=TOMORROW)
    with database.transaction() as session:
        # As after a clock was set back: the slot comes a second time for one of the two.
        session.execute(update(Reader).where(Reader.id == served).values(next_digest_at=SLOT))
        session.execute(
            update(Reader).where(Reader.id == other).values(next_digest_at=SLOT + timedelta(minutes=1)),
        )
    report = plan.plan_due(database, settings, now=TOMORROW)
    assert (report.readers, report.digests) == (2, 1)
    assert [(reader, papers) for reader, _, papers in all_digests(database)] == [
        (served, [1]),
        (other, [1]),
        (other, [2]),
    ]
    plan.plan_due(database, settings, now=TOMORROW + timedelta(days=1))
    assert all_digests(database)[-1] == (served, SLOT + timedelta(days=1), [2]), "what was new comes with the next"


def test_a_time_zone_that_is_no_more_stops_nobody(database: Database, settings: Settings) -> None:
    lost, other = (factories.reader(database, settings, queries=["robots"], now=NOON) for _ in range(2))
    factories.edition(database, factories.record("Robots"), now=NOON)
    with database.transaction() as session:
        session.execute(update(Reader).where(Reader.id == lost).values(timezone="Atlantis/Poseidonis"))
    assert plan.plan_due(database, settings, now=TOMORROW).digests == 2
    with database.transaction() as session:
        assert session.get_one(Reader, lost).next_digest_at == SLOT + timedelta(days=1)
        assert session.get_one(Reader, other).next_digest_at == SLOT + timedelta(days=1)


def test_a_delivery_ends_a_fixed_time_after_its_slot(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    with database.transaction() as session:
        delivery = session.scalars(select(Delivery)).one()
        assert (delivery.kind, delivery.priority, delivery.state) == (DeliveryKind.DIGEST, 5, DeliveryState.QUEUED)
        assert (delivery.due_at, delivery.deadline) == (SLOT, SLOT + timedelta(hours=settings.deadline_hours))
        assert delivery.message_id.endswith("@papers.example")


def test_a_digest_planned_long_after_its_slot_is_given_time_all_the_same(
    database: Database, settings: Settings
) -> None:
    weekly = Preferences(weekdays=1)
    factories.reader(database, settings, queries=["robots"], preferences=weekly, now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    late = datetime(2026, 12, 4, 12, 0, tzinfo=UTC)
    assert plan.plan_due(database, settings, now=late).digests == 1
    with database.transaction() as session:
        delivery = session.scalars(select(Delivery)).one()
        assert delivery.due_at == datetime(2026, 11, 30, 7, 0, tzinfo=UTC)
        assert delivery.deadline == late + timedelta(hours=settings.deadline_hours) / 4
        assert session.scalars(select(Reader.next_digest_at)).one() == datetime(2026, 12, 7, 7, 0, tzinfo=UTC)


def test_message_ids_differ(database: Database, settings: Settings) -> None:
    for _ in range(30):
        factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    with database.transaction() as session:
        assert session.scalars(select(func.count(Delivery.message_id.distinct()))).one() == 30
        unmatched = text("SELECT count(*) FROM delivery JOIN digest ON digest.id = digest_id AND digest.reader_id"
                         " = delivery.reader_id")  # fmt: skip
        assert session.scalars(unmatched).one() == 30


def test_a_round_for_everyone_waits_for_a_reader_who_is_just_changing_something(
    database: Database, settings: Settings
) -> None:
    held, _ = (factories.reader(database, settings, queries=["robots"], now=NOON) for _ in range(2))
    factories.edition(database, factories.record("Robots"), now=NOON)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            session.execute(select(Reader).where(Reader.id == held).with_for_update())
            planning = pool.submit(plan.plan_due, database, settings, now=NOON, everyone=True)
            with pytest.raises(TimeoutError):
                planning.result(timeout=0.5)
        assert planning.result(timeout=20).digests == 2


def test_rounds_for_everyone_at_once_plan_nobody_twice(database: Database, settings: Settings) -> None:
    small = settings.model_copy(update={"plan_chunk": 5})
    for _ in range(20):
        factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    with ThreadPoolExecutor(3) as pool:
        moments = [NOON + timedelta(seconds=second) for second in range(3)]
        reports = list(pool.map(lambda moment: plan.plan_due(database, small, now=moment, everyone=True), moments))
    assert sum(report.digests for report in reports) == 20
    assert len({reader for reader, _, _ in all_digests(database)}) == 20


def _plan_in_a_process(settings: Settings) -> int:
    with Database.open(settings, own=False) as database:
        return plan.plan_due(database, settings, now=TOMORROW).digests


def test_planners_in_processes_of_their_own_plan_nobody_twice(database: Database, settings: Settings) -> None:
    small = settings.model_copy(update={"plan_chunk": 10})
    for _ in range(60):
        factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        planned = pool.map(_plan_in_a_process, [small, small])
    assert sum(planned) == 60
    assert len({reader for reader, _, _ in all_digests(database)}) == 60


def test_a_muted_paper_is_out_whatever_else_matches_it(database: Database, settings: Settings) -> None:
    reader = factories.reader(
        database, settings, queries=["robots", "fish", "cat:cs.CL"], muted=["title:survey"], now=NOON
    )
    factories.edition(database, factories.record("A Survey of Robots and Fish"), factories.record("Robots"), now=NOON)
    factories.edition(database, factories.record("A Survey of Fish"), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    assert all_digests(database) == [(reader, SLOT, [2])]


def test_a_reader_for_whom_nothing_is_new_moves_on(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Birds"), now=NOON)
    report = plan.plan_due(database, settings, now=TOMORROW)
    assert (report.readers, report.digests) == (1, 0)
    with database.transaction() as session:
        row = session.get_one(Reader, reader)
        assert (row.next_digest_at, row.last_edition_id) == (SLOT + timedelta(days=1), 1)
    assert all_digests(database) == []
