"""What has served its time goes, and nothing else."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from service import retention
from service.database import Database
from service.database.tables import AuditEvent, Base, CarriedOver, ConsentEvent, Delivery, Digest
from service.delivery import sender
from service.digests import plan
from service.outbox import rows
from service.settings import Settings
from service.subscribers import access, accounts, interests
from service.subscribers.accounts import Signup
from service.subscribers.consent import Visit
from service.subscribers.tokens import Links, Purpose
from tests import factories
from tests.delivery.servers import sink
from tests.operators.conftest import enrolled, operator

LATER = datetime.now(UTC) + timedelta(days=400 + 32)
"""This month's last day is older then than settled deliveries may be."""


def _count(database: Database, table: type[Base]) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _planned(database: Database, settings: Settings, title: str) -> int:
    factories.edition(database, factories.record(title))
    return plan.plan_due(database, settings, everyone=True).digests


def test_a_month_goes_whole_when_all_of_it_is_settled_and_old(database: Database, settings: Settings) -> None:
    for number in range(5):
        factories.reader(database, settings, f"r{number}@example.org", queries=["robots"])
    assert _planned(database, settings, "Walking Robots") == 5
    with sink() as server:
        used = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"})
        assert sender.send_due(database, used).sent == 5
        assert _planned(database, settings, "Talking Robots") == 5
        assert retention.apply(database, settings, now=LATER).months == 0, "some of it is not settled"
        assert sender.send_due(database, used).sent == 5
    with database.transaction() as session:
        digest = session.scalars(select(Digest).limit(1)).one()
        session.add(CarriedOver(digest_id=digest.id, reader_id=digest.reader_id))

    assert retention.apply(database, settings).months == 0, "it is not old yet"
    for_ever = settings.model_copy(update={"keep_deliveries_days": 0})
    assert retention.apply(database, for_ever, now=LATER).months == 0
    with database.connection() as connection:
        connection.execute(update(Delivery).values(settled_at=LATER - timedelta(days=400)))
    assert retention.apply(database, settings, now=LATER).months == 0, "settled late, and its bounce may come"
    with database.connection() as connection:
        connection.execute(update(Delivery).values(settled_at=datetime.now(UTC)))
    assert _count(database, Delivery) == _count(database, Digest) == 10

    assert retention.apply(database, settings, now=LATER).months >= 1

    assert _count(database, Delivery) == _count(database, Digest) == _count(database, CarriedOver) == 0
    assert plan.plan_due(database, settings, everyone=True).digests == 0, "nobody is mailed anew what they had"
    assert _planned(database, settings, "Swimming Robots") == 5, "a month that is needed is made"


def test_who_reads_a_month_for_long_is_not_disturbed_and_keeps_nobody_waiting(
    database: Database, settings: Settings
) -> None:
    with ThreadPoolExecutor(1) as pool, database.connection() as report:
        report.execute(text("SELECT count(*) FROM delivery"))
        dropping = pool.submit(retention.apply, database, settings, now=LATER)
        started = time.monotonic()
        while not dropping.done():
            rows.claim(database, owner="me", limit=1, lease=timedelta(minutes=1))
        assert dropping.result().months == 0
        assert time.monotonic() - started < 10
    assert retention.apply(database, settings, now=LATER).months >= 1


@pytest.mark.parametrize(
    ("ip", "coarse"), [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), (None, None)]
)
def test_from_where_a_reader_agreed_becomes_coarse(
    database: Database, settings: Settings, ip: str | None, coarse: str | None
) -> None:
    with database.transaction() as session:
        visit = Visit("subscribe", ip=ip, user_agent="An invented browser")
        accounts.add_confirmed(
            session, settings, Signup("ada@example.org", interests.from_queries(["robots"]), visit=visit)
        )
    before = datetime.now(UTC) + timedelta(days=89)

    assert retention.apply(database, settings, now=before).visits == 0
    assert retention.apply(database, settings, now=LATER).visits == 1
    assert retention.apply(database, settings, now=LATER).visits == 0

    with database.transaction() as session:
        event = session.scalars(select(ConsentEvent)).one()
        assert (event.user_agent, event.origin, event.kind) == (None, "subscribe", "entered")
        assert session.scalar(text("SELECT host(ip) || '/' || masklen(ip) FROM consent_event")) == coarse


@pytest.mark.parametrize(
    "change",
    [
        "wording = 'Another'",
        "kind = 'confirmed', user_agent = NULL",
        "ip = '198.51.100.1', user_agent = NULL",
        "ip = NULL, user_agent = NULL",
        "user_agent = 'Another'",
    ],
)
def test_nothing_else_of_a_consent_can_be_changed(database: Database, settings: Settings, change: str) -> None:
    with database.transaction() as session:
        visit = Visit("subscribe", ip="203.0.113.77", user_agent="An invented browser")
        accounts.add_confirmed(
            session, settings, Signup("ada@example.org", interests.from_queries(["robots"]), visit=visit)
        )

    with pytest.raises(DBAPIError, match="append-only"), database.connection() as connection:
        connection.execute(text(f"UPDATE consent_event SET {change}"))  # noqa: S608 (the test's own words)


def test_deliveries_cannot_be_dropped_before_their_bounces_come() -> None:
    with pytest.raises(ValueError, match="must be at least 30 days, or 0 for ever"):
        Settings(keep_deliveries_days=5)


def test_sessions_of_operators_go_a_month_after_their_end(database: Database, settings: Settings) -> None:
    enrolled(database, settings, operator(database))
    assert retention.apply(database, settings, now=datetime.now(UTC) + timedelta(days=29)).sessions == 0
    assert retention.apply(database, settings, now=datetime.now(UTC) + timedelta(days=31)).sessions == 1


def test_tokens_that_have_run_out_go_a_month_later(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings)
    links = Links(settings)
    with database.transaction() as session:
        given = access.exchange(session, links, links.token(Purpose.TOKEN, reader))
    ended = datetime.now(UTC) + access.TOKEN_LIFETIME
    assert retention.apply(database, settings, now=ended + timedelta(days=29)).tokens == 0
    with database.transaction() as session:
        assert access.reader_of(session, given.token, now=ended + timedelta(seconds=1)) is None
    assert retention.apply(database, settings, now=ended + timedelta(days=31)).tokens == 1


def _acts(database: Database, *days_ago: int) -> None:
    with database.transaction() as session:
        for each in days_ago:
            session.add(AuditEvent(at=datetime.now(UTC) - timedelta(days=each), act="signed in", subject="", detail=""))


def test_old_lines_of_the_audit_log_go_and_their_going_is_written_down(database: Database, settings: Settings) -> None:
    _acts(database, 800, 732, 728, 0)
    for_ever = settings.model_copy(update={"keep_audit_days": 0})
    assert retention.apply(database, for_ever).acts == 0
    assert [retention.apply(database, settings).acts for _ in range(2)] == [2, 0]
    with database.transaction() as session:
        left = session.execute(select(AuditEvent.act, AuditEvent.detail).order_by(AuditEvent.id)).all()
    assert [each.act for each in left] == ["signed in", "signed in", "log shortened"]
    assert left[-1].detail.endswith(" 00:00: 2")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_event",
        "UPDATE audit_event SET act = 'nothing'",
        "SELECT shorten_audit_log(now() - interval '1 day')",
    ],
)
def test_young_lines_of_the_audit_log_are_safe_from_everybody(database: Database, statement: str) -> None:
    _acts(database, 89)
    with pytest.raises(DBAPIError, match="append-only"), database.connection() as connection:
        connection.execute(text(statement))


def test_a_log_cannot_be_set_to_be_forgotten_soon() -> None:
    with pytest.raises(ValueError, match="at least 90 days"):
        Settings(keep_audit_days=30)
