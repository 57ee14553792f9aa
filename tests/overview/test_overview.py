"""What the dashboard tells is what stands in the tables, and asking costs what one day holds."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import TextClause, text

from service import task_runs
from service.database import Database
from service.database.tables import DeliveryKind
from service.doorbell import Task
from service.overview import days, queues, today, trouble
from service.overview.trouble import Offer, Remedy
from service.papers import coverage, ingest
from service.settings import Settings
from tests import factories
from tests.overview.rows import consents, deliveries, returns

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


# ---- today -----------------------------------------------------------------------------------------------------------


def test_an_empty_house_has_an_empty_picture(database: Database) -> None:
    view = today.today(database, now=NOW)
    assert (view.papers, view.matched, view.planned, view.sent, view.bounced) == (0, 0, 0, 0, 0)
    assert view.minutes_left is None


def test_the_picture_counts_the_digests_of_today(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"], now=NOW - HOUR)
    factories.edition(database, factories.record(), factories.record(), now=NOW - HOUR)
    factories.edition(database, factories.record(), now=NOW - DAY)
    ingest.ingest(database, factories.Listed(factories.record()), factories.TODAY)
    deliveries(database, "sent", 30, settled=NOW - HOUR)
    deliveries(database, "sent", 10, settled=NOW - MINUTE)
    deliveries(database, "sent", 500, settled=NOW - 13 * HOUR)
    deliveries(database, "sent", 7, kind="confirm", settled=NOW - MINUTE)
    deliveries(database, "failed", 2, settled=NOW - HOUR)
    deliveries(database, "cancelled", 1, settled=NOW - HOUR)
    deliveries(database, "uncertain", 1, settled=NOW - HOUR)
    deliveries(database, "queued", 18, due=NOW - HOUR)
    deliveries(database, "deferred", 3, due=NOW + HOUR)
    deliveries(database, "sending", 2, due=NOW - HOUR, lease=NOW + HOUR)
    returns(database, "hard bounce", 2, NOW - HOUR)
    returns(database, "soft bounce", 1, NOW - HOUR)
    returns(database, "complaint", 1, NOW - HOUR)
    returns(database, "hard bounce", 9, NOW - DAY)
    view = today.today(database, now=NOW)
    assert (view.papers, view.editions, view.unedited) == (2, 1, 1)
    assert (view.sent, view.failed, view.cancelled, view.uncertain) == (40, 2, 1, 1)
    assert (view.open, view.due, view.deferred) == (23, 20, 3)
    assert view.planned == 67
    assert (view.hard_bounces, view.soft_bounces, view.complaints) == (2, 1, 1)
    assert view.sent_lately == 10
    assert view.minutes_left == 10, "20 due, 10 in five minutes"


# ---- days ------------------------------------------------------------------------------------------------------------


def test_a_day_is_counted_when_it_is_over_and_stays_when_its_rows_go(database: Database) -> None:
    yesterday = NOW - DAY
    deliveries(database, "sent", 5, settled=yesterday)
    deliveries(database, "failed", 1, settled=yesterday)
    deliveries(database, "sent", 2, settled=NOW - HOUR)
    returns(database, "soft bounce", 3, yesterday)
    returns(database, "complaint", 1, yesterday)
    consents(database, "confirmed", 4, yesterday)
    consents(database, "unsubscribed", 2, yesterday)
    consents(database, "requested", 9, yesterday)
    assert days.close(database, now=NOW) == days.KEPT_BACK
    with database.connection() as connection:
        connection.execute(text("DELETE FROM delivery WHERE settled_at < :now"), {"now": NOW - 13 * HOUR})
    assert days.close(database, now=NOW) == 0
    *_, before, last, now = days.last(database, 30, now=NOW)
    assert before == days.Day(date(2026, 11, 22), 0, 0, 0, 0, 0, 0, 0, None)
    assert last == days.Day(date(2026, 11, 23), 0, 5, 1, 3, 1, 4, 2, 0)
    assert (now.day, now.sent) == (date(2026, 11, 24), 2)
    assert len(days.last(database, 30, now=NOW)) == 30


def test_days_nobody_counted_are_left_out(database: Database) -> None:
    assert [each.day for each in days.last(database, 30, now=NOW)] == [NOW.date()]


# ---- trouble ---------------------------------------------------------------------------------------------------------


def test_a_house_in_order_has_no_trouble(database: Database, settings: Settings) -> None:
    deliveries(database, "queued", 3, due=NOW - MINUTE)
    deliveries(database, "sending", 3, lease=NOW + MINUTE)
    deliveries(database, "deferred", 3, due=NOW + HOUR)
    task_runs.record(database, Task.SEND_DUE, 1, "OperationalError", now=NOW - HOUR)
    task_runs.record(database, Task.SEND_DUE, 1, None, now=NOW - MINUTE)
    assert trouble.found(database, settings, now=NOW) == []


def test_everything_stuck_is_named_with_its_remedy_and_its_section_of_the_runbook(
    database: Database, settings: Settings, request: pytest.FixtureRequest
) -> None:
    deliveries(database, "sending", 2, lease=NOW - MINUTE)
    deliveries(database, "uncertain", 1, settled=NOW - MINUTE)
    deliveries(database, "queued", 4, due=NOW - HOUR)
    deliveries(database, "deferred", 5, due=NOW + HOUR, attempts=3)
    factories.reader(database, settings, queries=["robots"], now=NOW - 3 * DAY)
    ingest.ingest(database, factories.Listed(factories.record()), factories.TODAY, now=NOW - HOUR)
    task_runs.record(database, Task.PLAN_DUE, 1, "OperationalError", now=NOW - MINUTE)
    late = (NOW - 3 * DAY).date()
    with database.transaction() as session:
        coverage.note(
            session,
            [coverage.broken_off(late, source="arxiv", origin="x", taken=0, error="no answer", now=NOW - DAY)],
        )
    with database.connection() as connection:
        connection.execute(
            text("INSERT INTO sending_pause VALUES (1, 'the relay is down', :now, :now, 3)"), {"now": NOW}
        )
    found = trouble.found(database, settings, now=NOW)
    offers = {offer for each in found for offer in each.offers}
    assert {each.remedy for each in offers} == set(Remedy)
    assert Offer(Remedy.READ_AGAIN, f"arxiv {late}") in offers
    assert [each.what for each in found] == [
        "The relay is paused",
        "2 deliveries held by lost senders",
        "1 delivery uncertain",
        "4 deliveries due and not sent",
        "5 deliveries deferred again and again",
        "1 reader not planned",
        "1 paper in no edition",
        "The task plan.due fails",
        "1 day of arxiv not complete",
    ]
    runbook = (request.config.rootpath / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert all(f"### {each.section}\n" in runbook for each in found)


def test_queues_tell_what_is_open_by_kind_and_what_tasks_took(database: Database) -> None:
    deliveries(database, "queued", 3, due=NOW - HOUR)
    deliveries(database, "deferred", 2, due=NOW + HOUR)
    deliveries(database, "sending", 1, kind="confirm", lease=NOW + HOUR)
    for seconds, error in ((1.0, None), (3.0, None), (9.0, "OperationalError")):
        task_runs.record(database, Task.SEND_DUE, seconds, error, now=NOW - MINUTE)
    found = queues.queues(database, now=NOW)
    assert found.mail == (
        queues.OpenMail(DeliveryKind.DIGEST, 3, 2, 0, NOW - HOUR),
        queues.OpenMail(DeliveryKind.CONFIRM, 0, 0, 1, None),
    )
    runs = {each.task: each for each in found.tasks}
    assert runs[Task.SEND_DUE] == queues.TaskRuns(Task.SEND_DUE, 2, 1, 3.0, 9.0, NOW - MINUTE)
    assert runs[Task.PLAN_DUE] == queues.TaskRuns(Task.PLAN_DUE, 0, 0, None, None, None)


# ---- what asking costs -----------------------------------------------------------------------------------------------

HOT = [
    today.OPEN, today.SETTLED, today.BOUNCED, today.MATCHED, today.UNEDITED, today.READERS_DUE, days.COUNT,
    trouble.LEASES, trouble.WAITING, trouble.DEFERRED, trouble.UNCERTAIN, trouble.UNPLANNED, trouble.FAILED,
]  # fmt: skip


def test_no_question_reads_a_large_table_from_end_to_end(database: Database) -> None:
    """With sequential reading made dear, a plan that still reads a large table so has no index to read instead."""
    values = {"now": NOW, "since": NOW, "lately": NOW, "stuck": NOW, "most": 10, "edition": 1, "tasks": ["x"],
              "start": NOW, "end": NOW}  # fmt: skip
    large = {"delivery", "reader", "paper", "match", "return_event", "consent_event", "digest", "task_run"}
    with database.connection() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for statement in HOT:
            assert isinstance(statement, TextClause)
            plan = connection.scalar(text(f"EXPLAIN (FORMAT JSON) {statement.text}"), values)
            read = scans(plan if isinstance(plan, list) else json.loads(plan))
            assert not {table for kind, table in read if kind == "Seq Scan"} & large, statement.text
            assert read, statement.text


def scans(plan: object) -> set[tuple[str, str]]:
    """Each way in which a plan reads a table, and the table."""
    if isinstance(plan, list):
        return set().union(*map(scans, plan))
    if not isinstance(plan, dict):
        return set()
    own = {(str(plan["Node Type"]), str(plan["Relation Name"]))} if "Relation Name" in plan else set()
    return own.union(*map(scans, plan.values()))
