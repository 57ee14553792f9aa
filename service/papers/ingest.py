"""From a source's rows to stored papers: read, find the identity, merge, tell.

Rows go in by batches, each in one transaction under one lock, so that two sources announcing a paper at the same time
make one. A crash keeps whole batches; reading the source again finds them and makes nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final

from sqlalchemy import delete, insert, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import Ingest, IngestProblem, Paper, PaperIdentifier, Sighting
from service.papers import merge
from service.papers.identity import STRONG
from service.papers.record import Identifier, PaperRecord, Problem, Source, SourceError
from service.papers.text import title_key

_BATCH: Final = 500
_TURN: Final = 7_262_053
"""Any number of its own: writers of papers take turns."""
_KEPT_PROBLEMS: Final = 1_000
"""Written per ingest; all are counted."""
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
    complete: int = 0
    problems: list[Problem] = field(default_factory=list)
    error: str | None = None


def ingest(
    database: Database,
    source: Source,
    since: date,
    *,
    now: datetime | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Read ``source`` and store its papers; the same row again changes nothing.

    Never raises for what a source holds: a bad row costs that row, a source that breaks off keeps what came before.
    ``on_progress`` hears how many rows have been seen.
    """
    started_at = now or datetime.now(UTC)
    count = _Count()
    rows = _until_error(source.fetch(since), count)
    while batch := list(islice(rows, _BATCH)):
        records = [row for row in batch if isinstance(row, PaperRecord)]
        count.problems += [row for row in batch if isinstance(row, Problem)]
        count.seen += len(batch)
        count.complete += sum(_is_complete(record) for record in records)
        if records:
            with database.transaction() as session:
                new, updated = _store(session, records, started_at)
            count.new += new
            count.updated += updated
        if on_progress is not None:
            on_progress(count.seen)
    report = IngestReport(
        source=source.name,
        origin=source.origin,
        seen=count.seen,
        new=count.new,
        updated=count.updated,
        rejected=len(count.problems),
        complete=count.complete,
        problems=tuple(count.problems),
        error=count.error,
    )
    _write_report(database, report, started_at)
    return report


def prune(database: Database, *, now: datetime | None = None) -> int:
    """Drop what past ingests told of single rows, after a month; return how many lines."""
    before = (now or datetime.now(UTC)) - timedelta(days=_PROBLEM_DAYS)
    old = select(Ingest.id).where(Ingest.started_at < before)
    with database.connection() as connection:
        return connection.execute(delete(IngestProblem).where(IngestProblem.ingest_id.in_(old))).rowcount


def _until_error(rows: Iterator[PaperRecord | Problem], count: _Count) -> Iterator[PaperRecord | Problem]:
    try:
        yield from rows
    except SourceError as error:
        count.error = str(error)


def _is_complete(record: PaperRecord) -> bool:
    return record.published_on is not None and bool(record.authors or record.author_count or record.organization)


# ---- one batch -------------------------------------------------------------------------------------------------------


def _store(session: Session, records: Sequence[PaperRecord], now: datetime) -> tuple[int, int]:
    """Store one batch; return how many papers were new and how many changed."""
    session.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
    known = _known_papers(session, records)
    by_title = _by_title(session, records, known)
    fresh: dict[int, Paper] = {}
    touched: dict[int, Paper] = {}
    names: dict[Identifier, Paper] = {}
    seen_at: dict[tuple[int, str], tuple[Paper, str, date]] = {}
    for record in records:
        paper = _identified(record, names, known, by_title)
        if paper is None:
            paper = merge.made(record, now)
            fresh[id(paper)] = paper
            by_title.setdefault(paper.title_key, []).append(_Titled(paper, set()))
        elif merge.into(paper, record, now):
            touched[id(paper)] = paper
        for name in record.identifiers:
            names.setdefault(name, known.get(name) or paper)
        for titled in by_title.get(paper.title_key, ()):
            if titled.paper is paper:
                titled.strong.update(name for name in record.identifiers if name.scheme in STRONG)
        seen_at[id(paper), record.source] = (paper, record.source, record.listed_on or paper.listed_on)
    session.add_all(fresh.values())
    session.flush()
    _write_names(session, ((name, paper) for name, paper in names.items() if name not in known))
    _write_sightings(session, seen_at.values(), now)
    return len(fresh), len(touched.keys() - fresh.keys())


@dataclass(frozen=True, slots=True)
class _Titled:
    """A paper found by its title, with the strong names it has."""

    paper: Paper
    strong: set[Identifier]


def _known_papers(session: Session, records: Sequence[PaperRecord]) -> dict[Identifier, Paper]:
    wanted = {(name.scheme, name.value) for record in records for name in record.identifiers}
    if not wanted:
        return {}
    statement = (
        select(PaperIdentifier.scheme, PaperIdentifier.value, Paper)
        .join(Paper, Paper.id == PaperIdentifier.paper_id)
        .where(tuple_(PaperIdentifier.scheme, PaperIdentifier.value).in_(wanted))
    )
    return {Identifier(scheme, value): paper for scheme, value, paper in session.execute(statement)}


def _by_title(
    session: Session, records: Sequence[PaperRecord], known: dict[Identifier, Paper]
) -> dict[str, list[_Titled]]:
    """Papers that carry the title of a record which no name identifies: the last resort."""
    keys = {title_key(record.title) for record in records if not any(name in known for name in record.identifiers)}
    if not keys:
        return {}
    papers = session.scalars(select(Paper).where(Paper.title_key.in_(keys))).all()
    strong: dict[int, set[Identifier]] = {paper.id: set() for paper in papers}
    statement = select(PaperIdentifier).where(PaperIdentifier.paper_id.in_(strong), PaperIdentifier.scheme.in_(STRONG))
    for name in session.scalars(statement):
        strong[name.paper_id].add(Identifier(name.scheme, name.value))
    found: dict[str, list[_Titled]] = {}
    for paper in papers:
        found.setdefault(paper.title_key, []).append(_Titled(paper, strong[paper.id]))
    return found


def _identified(
    record: PaperRecord,
    names: dict[Identifier, Paper],
    known: dict[Identifier, Paper],
    by_title: dict[str, list[_Titled]],
) -> Paper | None:
    """The stored paper that a record speaks of; None where it is new."""
    # A strong name outweighs a title; stored papers outweigh those of this batch.
    for name in sorted(record.identifiers, key=lambda name: name.scheme not in STRONG):
        paper = known.get(name) or names.get(name)
        if paper is not None:
            return paper
    strong = {name.scheme: name for name in record.identifiers if name.scheme in STRONG}
    for titled in by_title.get(title_key(record.title), ()):
        contradicts = any(strong.get(name.scheme, name) != name for name in titled.strong)
        if not contradicts and merge.same_work(titled.paper, record):
            return titled.paper
    return None


def _write_names(session: Session, names: Iterable[tuple[Identifier, Paper]]) -> None:
    rows = [{"scheme": name.scheme, "value": name.value, "paper_id": paper.id} for name, paper in names]
    if rows:
        session.execute(upsert(PaperIdentifier).on_conflict_do_nothing(), rows)


def _write_sightings(session: Session, sightings: Iterable[tuple[Paper, str, date]], now: datetime) -> None:
    rows = [
        {"paper_id": paper.id, "source": source, "listed_on": listed_on, "seen_at": now}
        for paper, source, listed_on in sightings
    ]
    session.execute(upsert(Sighting).on_conflict_do_nothing(), rows)


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
        kept = report.problems[:_KEPT_PROBLEMS]
        if kept:
            rows = [{"ingest_id": row.id, "position": each.position, "problem": each.problem} for each in kept]
            session.execute(insert(IngestProblem), rows)
