"""Who gets which papers: from due readers to digests and deliveries, a chunk of readers in one transaction.

The steps for one chunk, all in one transaction, so that a crash at any point means the chunk never happened:

1. Lock readers who are due, passing over those another planner holds (``due``).
2. Fetch their interests and the match rows of the editions that each has not considered (``candidates``).
3. Choose (``matching.rank``): muted papers out, the best up to the reader's limit, each interest in its turn; and a few
   papers that everybody talks about (``trending``), apart.
4. COPY the digests and their deliveries, which have one id: the slot's month and a number (``database.months``).
   Unique (reader, slot) is the second lock. What an earlier digest could not
   deliver is folded in (``carried``).
5. Advance each reader: the next slot, and the last edition considered. A reader with nothing new advances too.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.orm import Session

from service import tracing
from service.database import Database, bulk, months
from service.database.bulk import Ragged
from service.database.engine import raw
from service.database.tables import DeliveryKind, Digest, Reader
from service.digests import candidates, carried, due, notes, trending
from service.digests.candidates import Due, Interests, Ints, Matches, Window
from service.digests.learned import Tastes
from service.mails.material import Draft
from service.matching import match, rank
from service.matching.likeness import Liking
from service.outbox import rows
from service.settings import Settings

DIGESTS: Final = """
    COPY digest (id, reader_id, slot, first_edition_id, last_edition_id, matched, paper_ids, reason_papers,
        reason_queries, trending_ids, note_id) FROM STDIN (FORMAT binary)
"""
DELIVERIES: Final = """
    COPY delivery (id, reader_id, digest_id, due_at, deadline, priority, kind, message_id) FROM STDIN (FORMAT binary)
"""


_AT_ONCE: Final = 2
"""Chunks in hand: one is chosen for while PostgreSQL writes the other."""


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What one run planned."""

    slot: datetime | None
    """With ``everyone``: the slot that this run's digests carry."""
    readers: int
    """Readers considered."""
    digests: int


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
    run = _Run(database, settings, moment, everyone, on_progress)
    with (
        tracing.span("plan digests") as span,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="plan") as pool,
    ):
        planners = [pool.submit(copy_context().run, run.chunks) for _ in range(_AT_ONCE)]
        try:
            for planner in planners:
                planner.result()
        except BaseException:
            # Interrupted, or one failed: the other finishes its chunk and no more.
            run.stop()
            raise
        span.tell({"paperround.readers": run.readers, "paperround.digests": run.digests})
    return PlanReport(slot=moment if everyone else None, readers=run.readers, digests=run.digests)


class _Run:
    """One run of planning, by several planners at once: while PostgreSQL writes one chunk, another is chosen for."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        now: datetime,
        everyone: bool,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.readers = self.digests = 0
        self._database, self._settings, self._now = database, settings, now
        self._everyone, self._on_progress = everyone, on_progress
        self._matches, self._tastes = Matches(database), Tastes()
        self._last_id = 0
        self._months: set[int] = set()
        self._stopped = False
        self._locking, self._choosing, self._counting = Lock(), Lock(), Lock()

    def chunks(self) -> None:
        """Plan one chunk after the other until nobody is left, another planner of the run fails, or it is stopped."""
        try:
            while self._chunk():
                pass
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Begin no other chunk."""
        self._stopped = True

    def _chunk(self) -> bool:
        with tracing.span("plan chunk") as span, self._database.transaction() as session:
            with self._locking:
                if self._stopped:
                    return False
                locked = self._lock(session)
            if not len(locked):
                return False
            self._see_to(set(months.months_of(locked.slot).tolist()))
            # What was fetched for the whole run is in there, and the processor is one.
            with self._choosing, tracing.span("choose papers"):
                chosen = _choose(session, locked, self._matches, self._tastes, self._now)
            digests = _keep(session, self._settings, locked, chosen, self._now)
            span.tell({"paperround.readers": len(locked), "paperround.digests": digests})
        with self._counting:
            self.readers += len(locked)
            self.digests += digests
            if self._on_progress is not None:
                self._on_progress(self.readers)
        return True

    def _see_to(self, slots: set[int]) -> None:
        """That the months of slots are there: of one long past, after an outage, or where a clock is wrong."""
        if not slots <= self._months:
            months.make(self._database, slots - self._months)
            self._months = self._months | slots

    def _lock(self, session: Session) -> Due:
        if not self._everyone:
            return due.lock(session, self._settings, self._now)
        locked = due.lock_all(session, self._settings, self._now, self._last_id)
        if len(locked):
            self._last_id = int(locked.id[-1])
        return locked


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
        return draft(session, reader, Matches(database), now=moment)


def draft(
    session: Session,
    reader: Reader,
    matches: Matches,
    *,
    now: datetime,
    editions: tuple[int, int] | None = None,
    wants: Interests | None = None,
) -> Draft | None:
    """What a reader would get of the editions they have not considered, or of ``editions`` (the first and the last).

    ``wants`` stands for interests that nobody holds. Nothing is locked or written. None: nothing matches.
    """
    alone, new = _alone(reader, now), None
    if editions is not None:
        alone = replace(alone, last_edition_id=np.array([editions[0] - 1], np.int64))
        new = candidates.editions(matches, editions[0] - 1, editions[1])
    chosen = _choose(session, alone, matches, Tastes(), now, new, wants)
    if not len(chosen.paper.values):
        return None
    return Draft(
        slot=now,
        paper_ids=chosen.paper.values.tolist(),
        reason_papers=chosen.reason_paper.values.tolist(),
        reason_queries=chosen.reason_query.values.tolist(),
        matched=int(chosen.matched[0]),
        trending_ids=chosen.trending.values.tolist(),
        note=notes.words_of(session, notes.for_one(session, reader.id, now, now)),
    )


def rest(database: Database, digest_id: int) -> list[int]:
    """The papers that matched when a digest was planned but were over its limit, best first: the "and 14 more".

    They are found again from the match rows of the digest's editions by the reader's interests of today, so a reader
    who has changed them meanwhile sees what they follow now. Raises LookupError where there is no such digest.
    """
    with database.transaction() as session:
        digest = session.get(Digest, digest_id)
        reader = session.get(Reader, digest.reader_id) if digest is not None else None
        if digest is None or reader is None:
            raise LookupError(f"there is no digest {digest_id}")
        matches = Matches(database)
        alone = replace(_alone(reader, digest.slot), last_edition_id=np.array([digest.first_edition_id - 1], np.int64))
        new = candidates.editions(matches, digest.first_edition_id - 1, digest.last_edition_id)
        wants = candidates.interests(session, alone)
        liking = Tastes().of(session, alone, new)
        everything = np.array([len(new.papers.id) + 1], np.int64)
        found = next(candidates.blocks(replace(alone, paper_limit=everything), wants, matches, new))[2]
        ordered = new.papers.id[rank.choose(found.candidates, everything, new.papers.upvotes, liking).paper].tolist()
    brought = set(digest.paper_ids)
    return [paper for paper in ordered if paper not in brought]


def _alone(reader: Reader, now: datetime) -> Due:
    at = np.array([due.microseconds(now)], np.int64)
    return Due(
        id=np.array([reader.id], np.int64),
        slot=at,
        next_digest_at=at,
        paper_limit=np.array([reader.paper_limit], np.int64),
        last_edition_id=np.array([reader.last_edition_id], np.int64),
        trending=np.array([reader.trending], np.bool_),
    )


# ---- steps 2 and 3 ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What each reader of a chunk gets: the columns of their digests."""

    new: Window
    paper: Ragged
    reason_paper: Ragged
    reason_query: Ragged
    matched: Ints
    trending: Ragged

    def of(self, readers: Ints) -> _Chosen:
        """The same for some of the readers."""
        return _Chosen(
            self.new,
            _taken(self.paper, readers),
            _taken(self.reason_paper, readers),
            _taken(self.reason_query, readers),
            self.matched[readers],
            _taken(self.trending, readers),
        )


def _choose(
    session: Session,
    locked: Due,
    matches: Matches,
    tastes: Tastes,
    now: datetime,
    new: Window | None = None,
    wants: Interests | None = None,
) -> _Chosen:
    new = new or candidates.window(session, locked, matches, now)
    wants = wants or candidates.interests(session, locked)
    liking = tastes.of(session, locked, new)
    pool = trending.pool(session, new, now)
    parts, asides = [], []
    whole = _with_a_standing_of_their_own(locked, wants, liking)
    for begin, end, found in candidates.blocks(locked, wants, matches, new, whole):
        likeness = None if liking is None else liking.beginning_at(begin)
        limits, weights = locked.paper_limit[begin:end], wants.weights(begin, end)
        best = rank.choose(found.candidates, limits, new.papers.upvotes, likeness, weights)
        parts.append(replace(best, matched=found.matched))
        asides.append(trending.unwanted(pool, found, parts[-1], new))
    chosen = rank.one_after_the_other(parts)
    return _Chosen(
        new=new,
        paper=Ragged(chosen.start, new.papers.id[chosen.paper]),
        reason_paper=Ragged(chosen.reason_start, chosen.reason_paper),
        reason_query=Ragged(chosen.reason_start, _queries(wants, chosen)),
        matched=chosen.matched,
        trending=trending.choose(session, pool, np.concatenate(asides), locked, wants, matches),
    )


def _with_a_standing_of_their_own(locked: Due, wants: Interests, liking: Liking | None) -> NDArray[np.bool_] | None:
    """Readers for whom shortlists do not hold: papers or interests count for them as for nobody else. None: nobody."""
    own = wants.reader[wants.weight != 0]
    if liking is not None:
        own = np.concatenate((own, liking.reader))
    return np.isin(np.arange(len(locked)), own) if len(own) else None


def _queries(wants: Interests, chosen: rank.Chosen) -> Ints:
    reader = np.repeat(np.arange(len(chosen.matched)), np.diff(chosen.reason_start))
    queries: Ints = wants.query[wants.first[reader] + chosen.reason_slot]
    return queries


def _taken(column: Ragged, readers: Ints) -> Ragged:
    size = np.diff(column.start)[readers]
    start = np.concatenate(([0], np.cumsum(size)))
    place = np.arange(int(start[-1])) + np.repeat(column.start[readers] - start[:-1], size)
    return Ragged(start, column.values[place])


# ---- steps 4 and 5 ---------------------------------------------------------------------------------------------------


def _keep(session: Session, settings: Settings, locked: Due, chosen: _Chosen, now: datetime) -> int:
    """Steps 4 and 5; how many digests."""
    planned = np.flatnonzero(np.diff(chosen.paper.start))
    considered = np.full(len(locked), chosen.new.newest, np.int64)
    served = np.empty(0, np.int64)
    if len(planned):
        try:
            with session.begin_nested():
                _write(session, settings, locked, chosen, planned, now)
        except UniqueViolation:
            # Somebody has a digest for this very slot: clocks were set back, or hours changed to and fro. They keep it,
            # and what they have not seen comes with their next one.
            served = _served(session, locked)
            considered[served] = locked.last_edition_id[served]
            planned = np.setdiff1d(planned, served)
            _write(session, settings, locked, chosen, planned, now)
    slots = np.delete(locked.slot, served)
    alone = carried.fold(
        session, settings, np.delete(locked.id, served), lambda each: due.moment(int(slots[each])), now
    )
    _advance(session, locked, considered)
    return len(planned) + alone


def _served(session: Session, locked: Due) -> Ints:
    """Positions of readers who have a digest for their slot. They are locked, so no other planner adds one."""
    statement = text("""
        SELECT due.position - 1
        FROM unnest(CAST(:ids AS bigint[]), CAST(:slots AS timestamptz[])) WITH ORDINALITY AS due (id, slot, position)
        JOIN digest ON digest.reader_id = due.id AND digest.slot = due.slot
    """)
    values = {"ids": locked.id.tolist(), "slots": [due.moment(slot) for slot in locked.slot.tolist()]}
    return np.array(session.scalars(statement, values).all(), np.int64)


def _write(session: Session, settings: Settings, locked: Due, chosen: _Chosen, planned: Ints, now: datetime) -> None:
    """Step 4. Numbers are drawn first, so that a digest and its delivery go in by COPY without a look in between."""
    if not len(planned):
        return
    with bulk.cursor(session) as cursor:
        draw = "SELECT array_send(array_agg(nextval('mail_number'))) FROM generate_series(1, %s)"
        drawn = bulk.numbers(cursor.execute(draw, (len(planned),)).fetchall()[0][0])
    new, mine = chosen.new, chosen.of(planned)
    reader_ids, slots = locked.id[planned].astype(">i8"), locked.slot[planned]
    ids = months.ids(months.months_of(slots), drawn).astype(">i8")
    digests = bulk.ragged(
        [
            ids,
            reader_ids,
            bulk.timestamps(slots),
            (np.maximum(locked.last_edition_id[planned], new.before) + 1).astype(">i4"),
            np.full(len(planned), new.newest, ">i4"),
            mine.matched.astype(">i4"),
            mine.paper,
            mine.reason_paper,
            mine.reason_query,
            mine.trending,
            notes.for_digests(session, locked.id[planned], slots, now).astype(">i4"),
        ]
    )
    # Where the slot is long past, some time is left all the same: late is better than never.
    patience = timedelta(hours=settings.deadline_hours)
    at_least = due.microseconds(now + patience / 4)
    deadlines = np.maximum(slots + patience // timedelta(microseconds=1), at_least)
    kind = DeliveryKind.DIGEST
    deliveries = bulk.fixed(
        [
            ids,
            reader_ids,
            ids,
            bulk.timestamps(slots),
            bulk.timestamps(deadlines),
            np.full(len(planned), rows.PRIORITY[kind], ">i2"),
            np.full(len(planned), kind.value.encode(), f"S{len(kind.value)}"),
            rows.message_ids(settings.mail_domain, len(planned)),
        ]
    )
    bulk.copy(raw(session), DIGESTS, digests)
    bulk.copy(raw(session), DELIVERIES, deliveries)


def _advance(session: Session, locked: Due, considered: Ints) -> None:
    """Step 5."""
    due.advance(session, locked, considered)
