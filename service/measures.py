"""What Prometheus is told: read from the tables when it asks, so that every process tells the same.

No process counts for itself: a worker that dies takes no figure with it, and behind a balancer all sites agree. So what
would be counters elsewhere are gauges over a window here, whose length is in the name. Each reading is kept for some
seconds, and one that fails leaves out its own figures only. docs/observability.md lists them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service import __version__
from service.database import Database
from service.database.tables import (
    Coverage,
    DeliveryKind,
    DeliveryState,
    ReaderState,
    ReturnKind,
    SuppressionReason,
)
from service.doorbell import Task
from service.papers import coverage
from service.settings import Settings
from service.subscribers import returned, suppression

log = structlog.get_logger(__name__)

SOON: Final = 10.0
"""Seconds for which a reading of what changes by the second is kept,"""
SELDOM: Final = 60.0
"""and one of what changes by the day or costs more."""
_PATIENCE: Final = "5s"
"""For one statement; the database has mail to deliver."""
_DAY: Final = timedelta(days=1)
_OPEN: Final = (DeliveryState.QUEUED, DeliveryState.DEFERRED, DeliveryState.SENDING)
_SETTLED: Final = tuple(state for state in DeliveryState if state not in _OPEN)

# Reads ix_delivery_due.
WAITING = text("""
    SELECT kind, state, count(*), min(due_at) FILTER (WHERE due_at <= :now) FROM delivery
    WHERE state IN ('queued', 'deferred') GROUP BY kind, state
""")
# Reads ix_delivery_leased.
LEASED = text("""
    SELECT kind, count(*), count(*) FILTER (WHERE lease_until < :now) FROM delivery
    WHERE state = 'sending' GROUP BY kind
""")
DIGESTS_PAUSED = text("SELECT count(*) FROM digest_pause")
# Reads nothing but ix_delivery_settled.
SETTLED = text("SELECT kind, state, count(*) FROM delivery WHERE settled_at >= :since GROUP BY kind, state")
# The first reads ix_reader_due, the second ix_reader_waiting.
ACTIVE = text("""
    SELECT count(*), count(*) FILTER (WHERE next_digest_at <= :now), min(next_digest_at) FROM reader
    WHERE state = 'active'
""")
NOT_ACTIVE = text("SELECT state, count(*) FROM reader WHERE state <> 'active' GROUP BY state")
# The first reads pk_edition from its end, the second ix_paper_unedited.
EDITION = text("SELECT id, paper_count, cut_at FROM edition ORDER BY id DESC LIMIT 1")
UNEDITED = text("SELECT count(*) FROM paper WHERE edition_id IS NULL")
# Some dozens of rows a day.
READ = text("SELECT source, max(finished_at) FROM ingest WHERE error IS NULL GROUP BY source")
# Each task by itself reads ix_task_run_task.
RUNS = text("""
    SELECT asked.task, run.* FROM unnest(CAST(:tasks AS text[])) AS asked (task) CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE error IS NULL), count(*) FILTER (WHERE error IS NOT NULL),
            percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY seconds)
        FROM task_run WHERE task_run.task = asked.task AND finished_at >= :since
    ) AS run
""")
SUCCEEDED = text("""
    SELECT asked.task, run.finished_at FROM unnest(CAST(:tasks AS text[])) AS asked (task) CROSS JOIN LATERAL (
        SELECT finished_at FROM task_run WHERE task_run.task = asked.task AND error IS NULL
        ORDER BY finished_at DESC LIMIT 1
    ) AS run
""")


@dataclass(slots=True)
class _Reading:
    """One question to the database, and its last answer."""

    name: str
    ask: Callable[[Connection], Iterable[Gauge]]
    keep_seconds: float
    answer: tuple[Gauge, ...] = ()
    asked_at: float = float("-inf")
    failed: bool = False


class Measures:
    """A collector of ``prometheus_client``. Safe to scrape from several threads: one asks, the others wait for it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._turn = threading.Lock()
        self._readings = (
            _Reading("outbox", _outbox, SOON),
            _Reading("settled", _settled_lately, SOON),
            _Reading("tasks", _tasks, SOON),
            _Reading("settled_day", _settled_in_a_day, SELDOM),
            _Reading("returns", _returns, SELDOM),
            _Reading("readers", _readers, SELDOM),
            _Reading("editions", _editions, SELDOM),
            _Reading("sources", self._sources, SELDOM),
        )
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def exposition(self) -> bytes:
        """Prometheus's text format, version 0.0.4 (UTF-8 names)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Gauge]:
        with self._turn:
            for reading in self._readings:
                if time.monotonic() - reading.asked_at >= reading.keep_seconds:
                    self._ask(reading)
            answers = [gauge for reading in self._readings for gauge in reading.answer]
        about = Gauge("paperround_info", "Always 1; the version that answers.", labels=["version"])
        about.add_metric([__version__], 1)
        failed = Gauge("paperround_reading_failed", "1: these figures could not be read.", labels=["reading"])
        for reading in self._readings:
            failed.add_metric([reading.name], reading.failed)
        yield from (about, failed, *answers)

    def _ask(self, reading: _Reading) -> None:
        try:
            with self._database.connection() as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = '{_PATIENCE}'"))
                reading.answer, reading.failed = tuple(reading.ask(connection)), False
        except SQLAlchemyError as error:
            # Old figures would pass for new ones.
            reading.answer, reading.failed = (), True
            log.warning("measures.failed", reading=reading.name, error=type(error).__name__)
        reading.asked_at = time.monotonic()

    def _sources(self, connection: Connection) -> Iterator[Gauge]:
        """Reads ix_coverage_day, and the table ``ingest``, which has some dozens of rows a day."""
        with Session(connection) as session:
            late = {each.source: len(each.days) for each in coverage.overdue(session, self._settings.look_back_days)}
            lately = select(Coverage.source).where(Coverage.day >= datetime.now(UTC).date() - 14 * _DAY).distinct()
            known = set(session.scalars(lately))
        overdue = Gauge("paperround_coverage_overdue_days", "Days that should be complete by now.", labels=["source"])
        for source in sorted(known | set(late)):
            overdue.add_metric([source], late.get(source, 0))
        read = Gauge(
            "paperround_source_read_timestamp_seconds", "When a source was last read to its end.", labels=["source"]
        )
        for source, at in connection.execute(READ):
            read.add_metric([source], at.timestamp())
        yield from (overdue, read)


def _outbox(connection: Connection) -> Iterator[Gauge]:
    now = datetime.now(UTC)
    number = Gauge("paperround_deliveries_open", "Deliveries not settled yet.", labels=["kind", "state"])
    found = {(kind, state): (count, oldest) for kind, state, count, oldest in connection.execute(WAITING, {"now": now})}
    leased = {kind: (count, ended) for kind, count, ended in connection.execute(LEASED, {"now": now})}
    age = Gauge("paperround_queue_age_seconds", "How long the oldest due delivery has been due.", labels=["kind"])
    for kind in DeliveryKind:
        for state in (DeliveryState.QUEUED, DeliveryState.DEFERRED):
            number.add_metric([kind, state], found.get((kind, state), (0, None))[0])
        number.add_metric([kind, DeliveryState.SENDING], leased.get(kind, (0, 0))[0])
        due = [oldest for (of, _), (_, oldest) in found.items() if of == kind and oldest is not None]
        age.add_metric([kind], (now - min(due)).total_seconds() if due else 0)
    ended = Gauge("paperround_leases_expired", "Deliveries whose sender was lost and that no sweep has given back yet.")
    ended.add_metric([], sum(each for _, each in leased.values()))
    paused = Gauge("paperround_digests_paused", "1: an operator has paused all digests.")
    paused.add_metric([], connection.scalar(DIGESTS_PAUSED) or 0)
    yield from (number, age, ended, paused)


def _settled_lately(connection: Connection) -> Iterator[Gauge]:
    yield _settled(connection, "paperround_deliveries_settled_5m", timedelta(minutes=5), "in the last five minutes")


def _settled_in_a_day(connection: Connection) -> Iterator[Gauge]:
    yield _settled(connection, "paperround_deliveries_settled_1d", _DAY, "in the last 24 hours")


def _settled(connection: Connection, name: str, window: timedelta, when: str) -> Gauge:
    gauge = Gauge(name, f"Deliveries settled {when}.", labels=["kind", "state"])
    since = datetime.now(UTC) - window
    found = {(kind, state): count for kind, state, count in connection.execute(SETTLED, {"since": since})}
    for kind in DeliveryKind:
        for state in _SETTLED:
            gauge.add_metric([kind, state], found.get((kind, state), 0))
    return gauge


def _returns(connection: Connection) -> Iterator[Gauge]:
    """Reads ix_return_event_kind, and the table of suppressions."""
    with Session(connection) as session:
        came = returned.counts(session, datetime.now(UTC) - _DAY)
        barred = suppression.count(session)
    back = Gauge("paperround_returns_1d", "What came back in the last 24 hours.", labels=["kind"])
    for kind in ReturnKind:
        back.add_metric([kind], came.get(kind, 0))
    suppressed = Gauge("paperround_suppressions", "Addresses that must not be mailed.", labels=["reason"])
    for reason in SuppressionReason:
        suppressed.add_metric([reason], barred.get(reason, 0))
    yield from (back, suppressed)


def _readers(connection: Connection) -> Iterator[Gauge]:
    now = datetime.now(UTC)
    active, due, oldest = connection.execute(ACTIVE, {"now": now}).one()
    others: dict[str, int] = dict(connection.execute(NOT_ACTIVE).all())
    number = Gauge("paperround_readers", "Readers by state.", labels=["state"])
    for state in ReaderState:
        number.add_metric([state], active if state is ReaderState.ACTIVE else others.get(state, 0))
    waiting = Gauge("paperround_readers_due", "Readers whose hour has come and who are not planned yet.")
    waiting.add_metric([], due)
    age = Gauge("paperround_plan_age_seconds", "How long ago the hour of the reader came who waits longest.")
    age.add_metric([], max((now - oldest).total_seconds(), 0) if oldest is not None else 0)
    yield from (number, waiting, age)


def _editions(connection: Connection) -> Iterator[Gauge]:
    newest = connection.execute(EDITION).one_or_none()
    if newest is not None:
        for name, what, value in (
            ("paperround_edition", "Number of the newest edition.", newest.id),
            ("paperround_edition_papers", "Papers in it.", newest.paper_count),
            ("paperround_edition_cut_timestamp_seconds", "When it was cut.", newest.cut_at.timestamp()),
        ):
            gauge = Gauge(name, what)
            gauge.add_metric([], value)
            yield gauge
    unedited = Gauge("paperround_papers_unedited", "Papers that are in no edition yet.")
    unedited.add_metric([], connection.scalar(UNEDITED) or 0)
    yield unedited


def _tasks(connection: Connection) -> Iterator[Gauge]:
    tasks = [task.value for task in Task]
    runs = Gauge("paperround_task_runs_1h", "Runs of tasks that ended in the last hour.", labels=["task", "outcome"])
    took = Gauge("paperround_task_seconds_1h", "What they took.", labels=["task", "quantile"])
    hour = {"tasks": tasks, "since": datetime.now(UTC) - timedelta(hours=1)}
    for task, done, failed, quantiles in connection.execute(RUNS, hour):
        runs.add_metric([task, "done"], done)
        runs.add_metric([task, "failed"], failed)
        for quantile, seconds in zip(("0.5", "0.95", "1"), quantiles or (), strict=False):
            took.add_metric([task, quantile], seconds)
    last = Gauge(
        "paperround_task_success_timestamp_seconds", "When a task last came to its end, within two days.",
        labels=["task"],
    )  # fmt: skip
    for task, at in connection.execute(SUCCEEDED, {"tasks": tasks}):
        last.add_metric([task], at.timestamp())
    yield from (runs, took, last)
