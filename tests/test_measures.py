"""What Prometheus reads must be what stands in the tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import TextClause, text

from service import measures, task_runs
from service.database import Database
from service.database.tables import ReturnKind
from service.doorbell import Task
from service.measures import Measures
from service.papers import ingest
from service.papers.record import DayRead
from service.settings import Settings
from service.subscribers import returned, suppression
from service.subscribers.returned import Return
from tests import factories

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(database: Database, settings: Settings) -> Figures:
    told = Measures(database, settings).exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }


def figure(figures: Figures, name: str, **labels: str) -> float:
    return figures[f"paperround_{name}", frozenset(labels.items())]


def test_an_empty_house_tells_noughts_and_no_reading_fails(database: Database, settings: Settings) -> None:
    figures = read(database, settings)
    assert figure(figures, "deliveries_open", kind="digest", state="queued") == 0
    assert figure(figures, "queue_age_seconds", kind="digest") == 0
    assert figure(figures, "readers", state="active") == 0
    assert {value for (name, _), value in figures.items() if name == "paperround_reading_failed"} == {0}


def test_the_outbox_is_told_by_kind_and_state(database: Database, settings: Settings) -> None:
    add_deliveries(database, "digest", "queued", 3, due="-10 minutes")
    add_deliveries(database, "digest", "deferred", 1, due="1 hour")
    add_deliveries(database, "confirm", "sending", 2, lease="-1 minute")
    add_deliveries(database, "digest", "sending", 1, lease="5 minutes")
    add_deliveries(database, "digest", "sent", 4, settled="-1 minute")
    add_deliveries(database, "digest", "sent", 5, settled="-3 hours")
    add_deliveries(database, "digest", "failed", 1, settled="-2 days")
    figures = read(database, settings)
    assert figure(figures, "deliveries_open", kind="digest", state="queued") == 3
    assert figure(figures, "deliveries_open", kind="digest", state="deferred") == 1
    assert figure(figures, "deliveries_open", kind="confirm", state="sending") == 2
    assert 600 <= figure(figures, "queue_age_seconds", kind="digest") < 700
    assert figure(figures, "leases_expired") == 2
    assert figure(figures, "deliveries_settled_5m", kind="digest", state="sent") == 4
    assert figure(figures, "deliveries_settled_1d", kind="digest", state="sent") == 9
    assert figure(figures, "deliveries_settled_1d", kind="digest", state="failed") == 0


def test_readers_returns_and_suppressions_are_told(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    factories.reader(database, settings, queries=["robots"])
    with database.transaction() as session:
        returned.take(session, settings, Return(ReturnKind.REFUSAL, "inbound", "1", reader_id=reader))
        suppression.add(session, b"hash", reason="operator")
        session.execute(
            text("UPDATE reader SET next_digest_at = now() - interval '1 hour' WHERE id = :id"), {"id": reader}
        )
        session.execute(text("UPDATE reader SET state = 'unsubscribed' WHERE id <> :id"), {"id": reader})
    figures = read(database, settings)
    assert figure(figures, "readers", state="active") == 1
    assert figure(figures, "readers", state="unsubscribed") == 1
    assert figure(figures, "readers_due") == 1
    assert 3600 <= figure(figures, "plan_age_seconds") < 3700
    assert figure(figures, "returns_1d", kind="refusal") == 1
    assert figure(figures, "suppressions", reason="operator") == 1


def test_editions_sources_and_days_that_are_overdue_are_told(database: Database, settings: Settings) -> None:
    late, now = factories.TODAY - timedelta(days=3), datetime.now(UTC)
    factories.edition(database, factories.record(), factories.record())
    ingest.ingest(database, factories.Listed(factories.record()), factories.TODAY)
    part = DayRead(late, 0, complete=False)
    ingest.ingest(database, factories.Listed(part, name="biorxiv"), late, now=now, by_days=True)
    figures = read(database, settings)
    assert figure(figures, "edition") == 1
    assert figure(figures, "edition_papers") == 2
    assert figure(figures, "papers_unedited") == 1
    assert figure(figures, "coverage_overdue_days", source="biorxiv") >= 1
    assert figure(figures, "source_read_timestamp_seconds", source="arxiv") == pytest.approx(now.timestamp(), abs=60)


def test_runs_of_tasks_are_told_and_old_ones_dropped(database: Database, settings: Settings) -> None:
    now = datetime.now(UTC)
    for seconds, error in ((1.0, None), (2.0, None), (9.0, "OSError")):
        task_runs.record(database, Task.SEND_DUE, seconds, error)
    task_runs.record(database, Task.PLAN_DUE, 1.0, None, now=now - timedelta(days=3))
    figures = read(database, settings)
    task = Task.SEND_DUE.value
    assert figure(figures, "task_runs_1h", task=task, outcome="done") == 2
    assert figure(figures, "task_runs_1h", task=task, outcome="failed") == 1
    assert figure(figures, "task_seconds_1h", task=task, quantile="0.5") == 2
    assert figure(figures, "task_seconds_1h", task=task, quantile="1") == 9
    assert figure(figures, "task_success_timestamp_seconds", task=task) == pytest.approx(now.timestamp(), abs=60)
    assert task_runs.prune(database) == 1


def test_a_reading_that_fails_says_so_and_spoils_no_other(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "WAITING", text("SELECT 1 / 0"))
    figures = read(database, settings)
    assert figure(figures, "reading_failed", reading="outbox") == 1
    assert not any(name == "paperround_queue_age_seconds" for name, _ in figures)
    assert figure(figures, "readers", state="active") == 0


def test_readings_are_kept_for_some_seconds(database: Database, settings: Settings) -> None:
    told = Measures(database, settings)
    before = told.exposition()
    add_deliveries(database, "digest", "queued", 3)
    assert told.exposition() == before


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        # Of a month: parts of ix_delivery_due, ix_delivery_leased, ix_delivery_settled.
        (measures.WAITING, "_priority_due_at_id_idx"),
        (measures.LEASED, "_lease_until_idx"),
        (measures.SETTLED, "_settled_at_state_kind_idx"),
        (measures.ACTIVE, "ix_reader_due"),
        (measures.NOT_ACTIVE, "ix_reader_waiting"),
        (measures.EDITION, "pk_edition"),
        (measures.UNEDITED, "ix_paper_unedited"),
        (measures.RUNS, "ix_task_run_task"),
        (measures.SUCCEEDED, "ix_task_run_task"),
    ],
)
def test_each_question_can_be_answered_from_an_index(database: Database, statement: TextClause, index: str) -> None:
    given = {"now": datetime.now(UTC), "since": datetime.now(UTC), "tasks": ["send.due"]}
    values = {name: given[name] for name in statement.compile().params}
    with database.connection() as connection:
        # Test tables are so small that reading them whole is cheaper.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        plan = "\n".join(connection.scalars(text(f"EXPLAIN {statement.text}"), values))
    assert index in plan, plan


def add_deliveries(
    database: Database, kind: str, state: str, count: int, *, due: str = "0", settled: str = "", lease: str = ""
) -> None:
    with database.connection() as connection:
        connection.execute(
            text("""
                INSERT INTO delivery (kind, priority, reader_id, message_id, state, due_at, settled_at, lease_until)
                SELECT :kind, 5, 1, 'invented', :state, now() + CAST(:due AS interval),
                    now() + CAST(nullif(:settled, '') AS interval), now() + CAST(nullif(:lease, '') AS interval)
                FROM generate_series(1, :count)
            """),
            {"kind": kind, "state": state, "count": count, "due": due, "settled": settled, "lease": lease},
        )
