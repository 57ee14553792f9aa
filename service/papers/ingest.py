"""From a source's rows to stored papers: read, file, note which days were read, tell.

Rows go in by batches, each in one transaction in its turn, so that two sources announcing a paper at the same time
make one; the word that a day is complete is committed with its last rows. A crash keeps whole batches; reading the
source again finds them and makes nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final

from sqlalchemy import delete, insert, select

from service import tracing
from service.database import Database
from service.database.tables import Ingest, IngestProblem
from service.papers import coverage, filing, turn
from service.papers.record import PaperRecord, Problem, Row, Source, SourceError

_BATCH: Final = 500
_KEPT_PROBLEMS: Final = 1_000
"""Told and written per ingest; all are counted."""
_PROBLEM_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one reading of one source brought."""

    source: str
    origin: str
    seen: int
    """Rows, good and bad."""
    new: int
    updated: int
    rejected: int
    complete: int
    """Rows taken that tell a date and who wrote it (authors, their number, or the organization)."""
    problems: tuple[Problem, ...]
    """The first thousand; ``rejected`` counts all."""
    error: str | None
    """Why the source could not be read, or not to its end; what came before stands."""

    @property
    def unchanged(self) -> int:
        return self.seen - self.new - self.updated - self.rejected


@dataclass(slots=True)
class _Count:
    seen: int = 0
    new: int = 0
    updated: int = 0
    rejected: int = 0
    complete: int = 0
    problems: list[Problem] = field(default_factory=list)
    error: str | None = None
    told_of: dict[date, int] = field(default_factory=dict)
    """Days the source has told of, with the rows they had."""
    taken: Counter[date] = field(default_factory=Counter)
    """Rows taken by listing day, of the days that were asked for."""
    rejected_before: int = 0
    """Rejected before the rows of the day that is being read."""


def ingest(
    database: Database,
    source: Source,
    since: date,
    *,
    now: datetime | None = None,
    by_days: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Read ``source`` and store its papers; the same row again changes nothing.

    Never raises for what a source holds: a bad row costs that row, a source that breaks off keeps what came before.
    ``by_days``: every day from ``since`` to today is asked for, so that those the source does not tell of are noted as
    pending, or as failed or partial where it broke off. ``on_progress`` hears how many rows have been seen. Rows are
    held a batch at a time, so that memory does not grow with the source.
    """
    # Without the address of a feed, which may carry a key.
    with tracing.span("ingest", {"paperround.source": source.name.partition(":")[0]}) as span:
        report = _ingested(database, source, since, now or datetime.now(UTC), by_days, on_progress)
        counts = ("seen", "new", "updated", "rejected")
        span.tell({f"paperround.rows.{each}": getattr(report, each) for each in counts})
        if report.error is not None:
            span.fail(SourceError.__name__)
    return report


def _ingested(
    database: Database,
    source: Source,
    since: date,
    started_at: datetime,
    by_days: bool,
    on_progress: Callable[[int], None] | None,
) -> IngestReport:
    asked = (since, max(since, started_at.date()))
    count = _Count()
    rows = _until_error(source.fetch(since), count)
    while batch := list(islice(rows, _BATCH)):
        _take(database, source, batch, count, asked, started_at)
        if on_progress is not None:
            on_progress(count.seen)
    if by_days:
        with database.transaction() as session:
            turn.take(session)
            coverage.conclude(
                session,
                source=source.name,
                origin=source.origin,
                asked=asked,
                told_of=count.told_of,
                taken=count.taken,
                error=count.error,
                now=started_at,
            )
    report = IngestReport(
        source=source.name,
        origin=source.origin,
        seen=count.seen,
        new=count.new,
        updated=count.updated,
        rejected=count.rejected,
        complete=count.complete,
        problems=tuple(count.problems),
        error=count.error,
    )
    _write_report(database, report, started_at)
    return report


def _take(
    database: Database, source: Source, batch: Sequence[Row], count: _Count, asked: tuple[date, date], now: datetime
) -> None:
    """Store one batch, with what it says of days, in one transaction."""
    records: list[PaperRecord] = []
    readings: list[coverage.SourceDay] = []
    for row in batch:
        if isinstance(row, PaperRecord):
            records.append(row)
            if row.listed_on is not None and asked[0] <= row.listed_on <= asked[1]:
                count.taken[row.listed_on] += 1
        elif isinstance(row, Problem):
            count.rejected += 1
            if len(count.problems) < _KEPT_PROBLEMS:
                count.problems.append(row)
        else:
            rejected = count.rejected - count.rejected_before
            count.rejected_before = count.rejected
            count.told_of[row.day] = row.rows
            readings.append(coverage.told(row, source=source.name, origin=source.origin, rejected=rejected, now=now))
    count.seen += len(batch) - len(readings)
    count.complete += sum(_is_complete(record) for record in records)
    if not records and not readings:
        return
    with tracing.span("file papers", {"paperround.papers": len(records)}), database.transaction() as session:
        filed = filing.file(session, records, now)
        coverage.note(session, readings)
    count.new += filed.new
    count.updated += filed.updated


def prune(database: Database, *, now: datetime | None = None) -> int:
    """Drop what past ingests told of single rows, after a month; return how many lines."""
    before = (now or datetime.now(UTC)) - timedelta(days=_PROBLEM_DAYS)
    old = select(Ingest.id).where(Ingest.started_at < before)
    with database.connection() as connection:
        return connection.execute(delete(IngestProblem).where(IngestProblem.ingest_id.in_(old))).rowcount


def _until_error(rows: Iterator[Row], count: _Count) -> Iterator[Row]:
    try:
        yield from rows
    except SourceError as error:
        count.error = str(error)


def _is_complete(record: PaperRecord) -> bool:
    return record.published_on is not None and bool(record.authors or record.author_count or record.organization)


def _write_report(database: Database, report: IngestReport, started_at: datetime) -> None:
    with database.transaction() as session:
        row = Ingest(
            source=report.source,
            origin=report.origin,
            started_at=started_at,
            finished_at=max(datetime.now(UTC), started_at),
            seen=report.seen,
            new=report.new,
            updated=report.updated,
            rejected=report.rejected,
            error=report.error,
        )
        session.add(row)
        session.flush()
        if report.problems:
            rows = [
                {"ingest_id": row.id, "position": each.position, "problem": each.problem} for each in report.problems
            ]
            session.execute(insert(IngestProblem), rows)
