"""Who gets which papers: from due readers to digests and deliveries, a chunk of readers in one transaction.

The steps for one chunk, all in one transaction, so that a crash at any point means the chunk never happened:

1. Lock readers who are due, passing over those another planner holds.
2. Fetch their interests and the match rows of the editions that each has not considered.
3. Choose (``matching.rank``): muted papers out, the best up to the reader's limit.
4. COPY the digests and their deliveries. Unique (reader, slot) is the second lock.
5. Advance each reader: the next slot, and the last edition considered. A reader with nothing new advances too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, Select, func, select, text
from sqlalchemy.orm import Session

from service.database import Database
from service.database.engine import raw
from service.database.tables import DeliveryKind, Digest, Edition, Interest, Match, Reader, ReaderState
from service.digests.compose import Draft
from service.matching import match, rank
from service.outbox import rows
from service.settings import Settings
from service.subscribers import schedule

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What one run planned."""

    slot: datetime | None
    """With ``everyone``: the slot that this run's digests carry."""
    readers: int
    """Readers considered."""
    digests: int


@dataclass(frozen=True, slots=True)
class Due:
    """A reader to be planned now."""

    id: int
    slot: datetime
    next_digest_at: datetime
    paper_limit: int
    last_edition_id: int


def plan_due(
    database: Database,
    settings: Settings,
    *,
    now: datetime | None = None,
    everyone: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> PlanReport:
    """Plan all readers whose slot has come; with ``everyone``, all active readers, their schedule left as it is.

    Safe to run any number of times at once: a reader is planned by one planner, a paper considered once per reader.
    """
    moment = now or datetime.now(UTC)
    match.match_pending(database, now=moment)
    matches = _Matches(database)
    readers = digests = last_id = 0
    while True:
        with database.transaction() as session:
            due = _lock_all(session, settings, moment, last_id) if everyone else _lock_due(session, settings, moment)
            if not due:
                break
            digests += _plan_chunk(session, settings, due, matches, moment)
        readers += len(due)
        last_id = due[-1].id
        if on_progress is not None:
            on_progress(readers)
    return PlanReport(slot=moment if everyone else None, readers=readers, digests=digests)


def peek(database: Database, reader_id: int, *, now: datetime | None = None) -> Draft | None:
    """What the reader would get if they were planned now; nothing is locked or advanced. None: nothing new matches.

    Raises LookupError for a reader who is not there.
    """
    moment = now or datetime.now(UTC)
    match.match_pending(database, now=moment)
    with database.transaction() as session:
        reader = session.get(Reader, reader_id)
        if reader is None:
            raise LookupError(f"there is no reader {reader_id}")
        due = [Due(reader.id, moment, moment, reader.paper_limit, reader.last_edition_id)]
        newest = session.scalar(select(func.max(Edition.id))) or 0
        candidates, _ = _candidates(session, due, _Matches(database), moment, newest)
    chosen = rank.choose(candidates, np.array([reader.paper_limit], np.int64))
    if not len(chosen.paper):
        return None
    return Draft(
        slot=moment,
        paper_ids=chosen.paper.tolist(),
        reason_papers=chosen.reason_paper.tolist(),
        reason_queries=chosen.reason_query.tolist(),
        matched=int(chosen.matched[0]),
    )


# ---- step 1 ----------------------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    Reader.id,
    Reader.next_digest_at,
    Reader.paper_limit,
    Reader.last_edition_id,
    Reader.timezone,
    Reader.digest_hour,
    Reader.weekdays,
)


def _lock_due(session: Session, settings: Settings, now: datetime) -> list[Due]:
    """Readers whose slot has come, the longest waiting first: reads ix_reader_due."""
    statement = (
        select(*_COLUMNS)
        .where(Reader.state == ReaderState.ACTIVE, Reader.next_digest_at <= now)
        .order_by(Reader.next_digest_at, Reader.id)
    )
    due = []
    for row in _locked(session, settings, statement):
        slot, following = row.next_digest_at, row.next_digest_at
        # After days of standstill the reader gets one digest, for the newest slot, with everything since the last.
        while following <= now:
            slot = following
            following = schedule.next_slot(slot, timezone=row.timezone, hour=row.digest_hour, weekdays=row.weekdays)
        due.append(Due(row.id, slot, following, row.paper_limit, row.last_edition_id))
    return due


def _lock_all(session: Session, settings: Settings, now: datetime, after_id: int) -> list[Due]:
    statement = select(*_COLUMNS).where(Reader.state == ReaderState.ACTIVE, Reader.id > after_id).order_by(Reader.id)
    return [
        Due(row.id, now, row.next_digest_at, row.paper_limit, row.last_edition_id)
        for row in _locked(session, settings, statement)
    ]


def _locked(
    session: Session, settings: Settings, statement: Select[*tuple[Any, ...]]
) -> Sequence[Row[*tuple[Any, ...]]]:
    return session.execute(statement.limit(settings.plan_chunk).with_for_update(skip_locked=True)).all()


# ---- steps 2 to 5 ----------------------------------------------------------------------------------------------------


def _plan_chunk(session: Session, settings: Settings, due: Sequence[Due], matches: _Matches, now: datetime) -> int:
    newest = session.scalar(select(func.max(Edition.id))) or 0
    candidates, window = _candidates(session, due, matches, now, newest)
    limits = np.array([reader.paper_limit for reader in due], np.int64)
    chosen = rank.choose(candidates, limits)
    planned = [position for position, (start, end) in enumerate(pairwise(chosen.start.tolist())) if end > start]
    if planned:
        _write(session, settings, due, chosen, planned, window, newest)
    _advance(session, due, newest)
    return len(planned)


def _candidates(
    session: Session, due: Sequence[Due], matches: _Matches, now: datetime, newest: int
) -> tuple[rank.Candidates, int]:
    """Each (reader, interest, paper) in editions the reader has not considered; and the edition before them."""
    oldest = session.scalar(select(func.min(Edition.id)).where(Edition.cut_at > now - match.OLDEST))
    window = max(min(reader.last_edition_id for reader in due), (oldest or newest + 1) - 1)
    position = {reader.id: index for index, reader in enumerate(due)}
    statement = (
        select(Interest.reader_id, Interest.query_id, Interest.muted)
        .where(Interest.reader_id.in_(position))
        .order_by(Interest.id)
    )
    found = session.execute(statement).all()
    reader = np.array([position[reader_id] for reader_id, _, _ in found], np.int64)
    query = np.array([query_id for _, query_id, _ in found], np.int64)
    muted = np.array([is_muted for _, _, is_muted in found], np.bool_)
    last_considered = np.array([each.last_edition_id for each in due], np.int64)
    parts = []
    for edition_id in range(window + 1, newest + 1):
        wants = last_considered[reader] < edition_id
        if wants.any():
            entries = matches.of(edition_id, np.unique(query[wants]))
            parts.append(_expanded(reader[wants], query[wants], muted[wants], entries))
    return _concatenated(parts), window


@dataclass(frozen=True, slots=True)
class _Entries:
    """The matches of one edition: ``paper[start[i]:start[i + 1]]`` belong to ``query[i]``, queries ascending."""

    query: Ints
    start: Ints
    paper: Ints
    score: NDArray[np.float32]


@dataclass(slots=True)
class _Matches:
    """Match rows as arrays, each edition fetched once per run; what is lacking is computed on the way."""

    database: Database
    _editions: dict[int, _Entries] = field(default_factory=dict)

    def of(self, edition_id: int, query_ids: Ints) -> _Entries:
        """The matches of an edition, among them those of ``query_ids``: also of a query followed a moment ago."""
        entries = self._editions.get(edition_id)
        if entries is None:
            entries = self._editions[edition_id] = self._fetch(edition_id)
        lacking = np.setdiff1d(query_ids, entries.query)
        if len(lacking):
            match.fill(self.database, edition_id, lacking.tolist())
            entries = self._editions[edition_id] = self._fetch(edition_id)
        return entries

    def _fetch(self, edition_id: int) -> _Entries:
        statement = (
            select(Match.query_id, Match.paper_ids, Match.scores)
            .where(Match.edition_id == edition_id)
            .order_by(Match.query_id)
        )
        with self.database.transaction() as session:
            found = session.execute(statement).all()
        lengths = np.fromiter((len(papers) for _, papers, _ in found), np.int64, len(found))
        total = int(lengths.sum())
        return _Entries(
            query=np.fromiter((query_id for query_id, _, _ in found), np.int64, len(found)),
            start=np.concatenate(([0], np.cumsum(lengths))),
            paper=np.fromiter((paper for _, papers, _ in found for paper in papers), np.int64, total),
            score=np.fromiter((score for _, _, scores in found for score in scores), np.float32, total),
        )


def _expanded(reader: Ints, query: Ints, muted: NDArray[np.bool_], entries: _Entries) -> rank.Candidates:
    """The join of interests with the matches of one edition."""
    row = np.searchsorted(entries.query, query)
    start = entries.start[row]
    count = entries.start[row + 1] - start
    # The positions start[i], start[i] + 1, … of every interest, one after the other.
    before = np.cumsum(count) - count
    place = np.arange(int(count.sum())) + np.repeat(start - before, count)
    return rank.Candidates(
        reader=np.repeat(reader, count),
        paper=entries.paper[place],
        query=np.repeat(query, count),
        score=entries.score[place],
        muted=np.repeat(muted, count),
    )


def _concatenated(parts: Sequence[rank.Candidates]) -> rank.Candidates:
    def joined(arrays: Iterable[NDArray[np.generic]], kind: type) -> NDArray[np.generic]:
        return np.concatenate([np.empty(0, kind), *arrays])

    return rank.Candidates(
        reader=joined((part.reader for part in parts), np.int64).astype(np.int64),
        paper=joined((part.paper for part in parts), np.int64).astype(np.int64),
        query=joined((part.query for part in parts), np.int64).astype(np.int64),
        score=joined((part.score for part in parts), np.float32).astype(np.float32),
        muted=joined((part.muted for part in parts), np.bool_).astype(np.bool_),
    )


def _write(
    session: Session,
    settings: Settings,
    due: Sequence[Due],
    chosen: rank.Chosen,
    planned: Sequence[int],
    window: int,
    newest: int,
) -> None:
    """Step 4. Ids are drawn first, so that a digest and its delivery go in by COPY without a look in between."""
    draw = text("SELECT nextval(pg_get_serial_sequence('digest', 'id')) FROM generate_series(1, :count)")
    digest_ids = session.scalars(draw, {"count": len(planned)}).all()
    start, reason_start = chosen.start.tolist(), chosen.reason_start.tolist()
    paper, matched = chosen.paper.tolist(), chosen.matched.tolist()
    reason_paper, reason_query = chosen.reason_paper.tolist(), chosen.reason_query.tolist()
    patience = timedelta(hours=settings.deadline_hours)
    with raw(session).cursor() as cursor:
        with cursor.copy(
            f"COPY {Digest.__tablename__} (id, reader_id, slot, first_edition_id, last_edition_id, paper_ids,"
            " reason_papers, reason_queries, matched) FROM STDIN"
        ) as copy:
            for digest_id, position in zip(digest_ids, planned, strict=True):
                reader = due[position]
                first, last = start[position], start[position + 1]
                why, why_end = reason_start[position], reason_start[position + 1]
                copy.write_row(
                    (
                        digest_id,
                        reader.id,
                        reader.slot,
                        max(reader.last_edition_id, window) + 1,
                        newest,
                        paper[first:last],
                        reason_paper[why:why_end],
                        reason_query[why:why_end],
                        matched[position],
                    )
                )
        message_ids = rows.message_ids(settings.mail_domain, len(planned))
        kind, priority = DeliveryKind.DIGEST, rows.PRIORITY[DeliveryKind.DIGEST]
        with cursor.copy(
            "COPY delivery (kind, priority, reader_id, digest_id, message_id, due_at, deadline) FROM STDIN"
        ) as copy:
            for digest_id, position, message_id in zip(digest_ids, planned, message_ids, strict=True):
                reader = due[position]
                # Counted from now where the slot is long past: late is better than never.
                deadline = max(reader.slot, datetime.now(UTC)) + patience
                copy.write_row((kind, priority, reader.id, digest_id, message_id, reader.slot, deadline))


def _advance(session: Session, due: Sequence[Due], newest: int) -> None:
    statement = text("""
        UPDATE reader SET next_digest_at = advanced.next_digest_at, last_edition_id = greatest(last_edition_id, :newest)
        FROM unnest(CAST(:ids AS bigint[]), CAST(:slots AS timestamptz[])) AS advanced (id, next_digest_at)
        WHERE reader.id = advanced.id
    """)
    slots = [reader.next_digest_at for reader in due]
    session.execute(statement, {"newest": newest, "ids": [reader.id for reader in due], "slots": slots})
