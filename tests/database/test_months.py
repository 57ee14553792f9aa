"""Ids say the month of what they name; months are made when they are needed, and only their owner's way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from service import doctor
from service.database import Database, months
from service.database.tables import Delivery, DeliveryKind, DeliveryState, Digest, Reader
from service.digests import plan
from service.doctor import Verdict
from service.outbox import rows
from service.settings import Settings
from tests import factories

CHRISTMAS = datetime(2026, 12, 25, 12, 0, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

moments = st.builds(
    lambda seconds, minutes: (datetime(2000, 2, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(
        timezone(timedelta(minutes=minutes))
    ),
    st.integers(0, 85 * 365 * 86_400),
    st.integers(-12 * 60, 14 * 60),
)


@given(moments, st.integers(1, 2**38 - 1))
@example(datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC), 1)
@example(datetime(2026, 12, 1, tzinfo=UTC), 2**38 - 1)
@example(datetime(2026, 12, 1, 1, 30, tzinfo=timezone(2 * HOUR)), 1)
def test_an_id_lies_in_its_month_and_in_no_other(moment: datetime, number: int) -> None:
    month = months.month_of(moment)
    made = months.first_id(month) | number
    assert months.first_id(month) <= made < months.first_id(month + 1)
    assert made < 2**48, "more than a return address holds"
    assert months.beginning(month) <= moment < months.beginning(month + 1)
    since_1970 = np.array([round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))], np.int64)
    assert months.ids(months.months_of(since_1970), np.array([number])).tolist() == [made]


@pytest.mark.parametrize("moment", [datetime(1999, 12, 31, tzinfo=UTC), datetime(2085, 5, 1, tzinfo=UTC)])
def test_a_moment_that_has_no_ids_is_told(moment: datetime) -> None:
    with pytest.raises(ValueError, match="look at the clock"):
        months.month_of(moment)


def test_postgresql_and_we_mean_the_same_month(database: Database) -> None:
    borders = [months.beginning(month) for month in range(1, months.MONTHS)]
    asked = [at - timedelta(microseconds=back) for at in borders for back in (1, 0)]
    with database.connection() as connection:
        connection.execute(text("SET LOCAL timezone = 'Pacific/Auckland'"))
        statement = text("SELECT month_id(at, 7) FROM unnest(CAST(:asked AS timestamptz[])) AS at")
        told = connection.scalars(statement, {"asked": asked[1:]}).all()
    assert told == [months.first_id(months.month_of(at)) | 7 for at in asked[1:]]


def test_mail_other_than_digests_is_of_the_month_in_which_it_is_put_in(database: Database) -> None:
    with database.transaction() as session:
        session.add(Delivery(kind="confirm", priority=0, reader_id=1, message_id="one@papers.example"))
    with database.transaction() as session:
        made = session.scalars(select(Delivery)).one()
        assert (
            session.scalar(text("SELECT tableoid::regclass::text FROM delivery")) == f"delivery_{made.created_at:%Y_%m}"
        )
    assert months.first_id(months.month_of(made.created_at)) < made.id


def test_every_partition_has_the_indexes_and_checks_that_hold_what_is_promised(database: Database) -> None:
    looked = inspect(database.engine)
    partitions = [name for name in looked.get_table_names() if months.is_partition(name)]
    assert len(partitions) >= 6

    def indexed(table: str) -> list[tuple[Any, ...]]:
        found = looked.get_indexes(table)
        return sorted(((each["column_names"], each["unique"], str(each["dialect_options"])) for each in found), key=str)

    for name in partitions:
        parent = name.partition("_")[0]
        more = [each for each in indexed(name) if each not in indexed(parent)]
        assert [each[:2] for each in more] == ([(["reader_id", "slot"], True)] if parent == "digest" else [])
        assert looked.get_pk_constraint(name)["constrained_columns"] == ["id"]
        checks = {each["name"] for each in looked.get_check_constraints(name)}
        assert f"ck_{name}_{'slot' if parent == 'digest' else 'digest_id'}" in checks


# ---- making months -------------------------------------------------------------------------------------------------


@pytest.fixture
def far(database: Database) -> Iterator[int]:
    """A month that nobody has made."""
    month = months.month_of(datetime(2080, 3, 1, tzinfo=UTC))
    yield month
    with database.connection() as connection:
        connection.execute(text("DROP TABLE IF EXISTS delivery_2080_03, digest_2080_03"))


def test_many_at_once_make_a_month_once(database: Database, far: int) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(lambda _: months.make(database, [far]), range(6))) == 1
    with database.connection() as connection:
        assert months.Held("2080_03", False, far + 1) in months.held(connection)


def test_a_month_is_made_while_others_read_and_write(database: Database, far: int) -> None:
    with database.transaction() as session:
        rows.enqueue(session, kind=DeliveryKind.CONFIRM, reader_id=1, mail_domain="papers.example")
        session.execute(text("SELECT count(*) FROM digest"))
        session.execute(text("DELETE FROM digest"))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(months.make, database, [far]).result(timeout=20) == 1


# ---- over the border of a month ------------------------------------------------------------------------------------


def _last_of_december(database: Database, settings: Settings, title: str) -> list[int]:
    """Two readers, due before and after midnight; planned after."""
    readers = [factories.reader(database, settings, queries=["robots"], now=CHRISTMAS) for _ in range(2)]
    factories.edition(database, factories.record(title), now=CHRISTMAS)
    with database.transaction() as session:
        for reader, slot in zip(readers, (NEW_YEAR - HOUR, NEW_YEAR), strict=True):
            session.execute(update(Reader).where(Reader.id == reader).values(next_digest_at=slot))
    return readers


def test_digests_of_one_run_go_to_the_months_of_their_slots(database: Database, settings: Settings) -> None:
    readers = _last_of_december(database, settings, "Robots")

    assert plan.plan_due(database, settings, now=NEW_YEAR + HOUR).digests == 2

    with database.transaction() as session:
        told = session.execute(
            text("""
                SELECT digest.reader_id, digest.tableoid::regclass::text, delivery.tableoid::regclass::text
                FROM digest JOIN delivery ON delivery.id = digest.id AND delivery.digest_id = digest.id ORDER BY 1
            """)
        ).all()
    assert told == [
        (readers[0], "digest_2026_12", "delivery_2026_12"),
        (readers[1], "digest_2027_01", "delivery_2027_01"),
    ]


def test_a_slot_planned_in_its_month_is_not_planned_again_in_the_next(database: Database, settings: Settings) -> None:
    reader, _ = _last_of_december(database, settings, "Robots")
    slot = NEW_YEAR - HOUR
    assert plan.plan_due(database, settings, now=slot + HOUR / 2).digests == 1
    factories.edition(database, factories.record("More Robots"), now=slot + HOUR / 2)
    with database.transaction() as session:
        session.execute(update(Reader).where(Reader.id == reader).values(next_digest_at=slot))

    assert plan.plan_due(database, settings, now=NEW_YEAR + 2 * HOUR).digests == 1, "the other reader's alone"

    with database.transaction() as session:
        assert session.scalars(select(Digest.slot).where(Digest.reader_id == reader)).all() == [slot]


def _digest(number: int, slot: datetime) -> dict[str, object]:
    return {"id": number, "slot": slot}


INSERT = text("""
    INSERT INTO digest (id, reader_id, slot, first_edition_id, last_edition_id, paper_ids, reason_papers,
        reason_queries, matched) VALUES (:id, 1, :slot, 1, 1, '{}', '{}', '{}', 0)
""")


def test_no_id_makes_room_for_a_second_digest_of_a_slot_or_a_second_delivery(database: Database) -> None:
    slot = NEW_YEAR - HOUR
    months.make(database, [months.month_of(slot), months.month_of(NEW_YEAR)])
    december, january = (months.first_id(months.month_of(at)) for at in (slot, NEW_YEAR))
    with database.connection() as connection:
        connection.execute(INSERT, _digest(december + 1, slot))
    for number, refused in ((december + 2, "unique"), (january + 2, "check")):
        with pytest.raises(IntegrityError, match=refused), database.connection() as connection:
            connection.execute(INSERT, _digest(number, slot))
    for number in (december + 1, december + 3, january + 1):
        with database.transaction() as session:
            session.add(
                Delivery(id=number, kind="resend", priority=5, reader_id=1, digest_id=december + 1, message_id="x@y")
            )
    for number in itertools.chain((december + 1,), (december + 4, january + 4)):
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.add(
                Delivery(id=number, kind="digest", priority=5, reader_id=1, digest_id=december + 1, message_id="x@y")
            )


def test_a_month_that_housekeeping_has_not_made_is_made_by_the_planner(
    database: Database, settings: Settings, far: int
) -> None:
    moment = months.beginning(far) + HOUR
    factories.reader(database, settings, queries=["robots"], now=moment)
    factories.edition(database, factories.record("Robots"), now=moment)

    assert plan.plan_due(database, settings, now=moment, everyone=True).digests == 1

    with database.transaction() as session:
        assert session.scalar(text("SELECT tableoid::regclass::text FROM delivery")) == "delivery_2080_03"


# ---- claims --------------------------------------------------------------------------------------------------------


def _touched(node: dict[str, Any], *, changed: bool = False) -> set[str]:
    """The tables that a plan read in order to change them, but for what its first steps found."""
    if node.get("Parent Relationship") == "InitPlan":
        return set()
    here = {node["Relation Name"]} if changed and "Relation Name" in node and node["Actual Loops"] else set()
    inside = changed or node["Node Type"] == "ModifyTable"
    return here.union(*(_touched(each, changed=inside) for each in node.get("Plans", [])))


def test_a_claim_looks_up_what_it_found_in_its_months_alone(database: Database) -> None:
    months.make(database, range(300, 305))
    with database.transaction() as session:
        for _ in range(20):
            rows.enqueue(session, kind=DeliveryKind.CONFIRM, reader_id=1, mail_domain="papers.example")
    now = datetime.now(UTC)
    explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {rows.CLAIM.text}")
    values = {"owner": "me", "until": now + HOUR, "now": now + HOUR, "limit": 10}
    with database.connection() as connection:
        (told,) = connection.execute(explain, values).scalar_one()
    assert _touched(told["Plan"]) == {f"delivery_{now:%Y_%m}"}
    with database.transaction() as session:
        states = list(session.scalars(select(Delivery.state)))
    assert states.count(DeliveryState.SENDING) == 10


def test_the_doctor_tells_that_the_next_month_is_missing(database: Database, settings: Settings) -> None:
    next_month = months.beginning(months.month_of(datetime.now(UTC)) + 1)

    def told() -> tuple[Verdict, str]:
        return next((each.verdict, each.detail) for each in doctor.examine(settings) if each.check == "months")

    assert told() == (Verdict.OK, f"{next_month:%B %Y} can come")
    with database.connection() as connection:
        connection.execute(text(f"DROP TABLE delivery_{next_month:%Y_%m}, digest_{next_month:%Y_%m}"))
    assert told()[0] is Verdict.FAILURE
    months.make_ahead(database)
    assert told()[0] is Verdict.OK
