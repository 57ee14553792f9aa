"""Who gets which papers: from due readers to digests and deliveries, a chunk of readers in one transaction.

The steps for one chunk, all in one transaction, so that a crash at any point means the chunk never happened:

1. Lock readers who are due, passing over those another planner holds.
2. Fetch their interests and the match rows of the editions that each has not considered.
3. Choose (``matching.rank``): muted papers out, the best up to the reader's limit.
4. COPY the digests and their deliveries. Unique (reader, slot) is the second lock. What an earlier digest could not
   deliver is folded in (``carried``).
5. Advance each reader: the next slot, and the last edition considered. A reader with nothing new advances too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray
from psycopg.errors import UniqueViolation
from sqlalchemy import Row, Select, func, select, text
from sqlalchemy.orm import Session

from service.database import Database
from service.database.arrays import integers
from service.database.engine import raw
from service.database.tables import DeliveryKind, Edition, Reader, ReaderState
from service.digests import candidates, carried
from service.digests.candidates import Due, Matches
from service.digests.carried import Turn
from service.digests.compose import Draft
from service.matching import match, rank
from service.outbox import rows
from service.settings import Settings
from service.subscribers import schedule

log = structlog.get_logger(__name__)

Ints = NDArray[np.int64]

_EVERY_SLOT_COMES_WITHIN: Final = timedelta(days=8)


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
    matches = Matches(database)
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
        found, _ = candidates.of(session, due, Matches(database), moment, newest)
    chosen = rank.choose(found, np.array([reader.paper_limit], np.int64))
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
        # After days of standstill the reader gets one digest, for the newest slot, with everything since the last.
        slot = row.next_digest_at
        following = _slot_after(row, max(slot, now - _EVERY_SLOT_COMES_WITHIN))
        while following <= now:
            slot, following = following, _slot_after(row, following)
        due.append(Due(row.id, slot, following, row.paper_limit, row.last_edition_id))
    return due


def _slot_after(row: Row[*tuple[Any, ...]], moment: datetime) -> datetime:
    """The schedule remembers its answers, so that a million readers of a few thousand schedules ask it little."""
    try:
        return schedule.next_slot(moment, timezone=row.timezone, hour=row.digest_hour, weekdays=row.weekdays)
    except schedule.ScheduleError as error:
        # A zone that the tables of zones have dropped must not keep a whole chunk from being planned.
        log.error("plan.schedule_unusable", reader=row.id, error=str(error))
        return moment + timedelta(days=1)


def _lock_all(session: Session, settings: Settings, now: datetime, after_id: int) -> list[Due]:
    """The next active readers by id. Waits for one that somebody else holds: due readers would be found again."""
    statement = select(*_COLUMNS).where(Reader.state == ReaderState.ACTIVE, Reader.id > after_id).order_by(Reader.id)
    return [
        Due(row.id, now, row.next_digest_at, row.paper_limit, row.last_edition_id)
        for row in _locked(session, settings, statement, skip=False)
    ]


def _locked(
    session: Session, settings: Settings, statement: Select[*tuple[Any, ...]], *, skip: bool = True
) -> Sequence[Row[*tuple[Any, ...]]]:
    return session.execute(statement.limit(settings.plan_chunk).with_for_update(skip_locked=skip)).all()


# ---- steps 2 to 5 ----------------------------------------------------------------------------------------------------


def _plan_chunk(session: Session, settings: Settings, due: Sequence[Due], matches: Matches, now: datetime) -> int:
    newest = session.scalar(select(func.max(Edition.id))) or 0
    found, window = candidates.of(session, due, matches, now, newest)
    limits = np.array([reader.paper_limit for reader in due], np.int64)
    chosen = rank.choose(found, limits)
    planned = [position for position, (start, end) in enumerate(pairwise(chosen.start.tolist())) if end > start]
    considered = [newest] * len(due)
    served: set[int] = set()
    if planned:
        try:
            with session.begin_nested():
                _write(session, settings, due, chosen, planned, window, newest, now)
        except UniqueViolation:
            # Somebody has a digest for this very slot: clocks were set back, or hours changed to and fro. They keep it,
            # and what they have not seen comes with their next one.
            served = _served(session, due)
            for position in served:
                considered[position] = due[position].last_edition_id
            planned = [position for position in planned if position not in served]
            _write(session, settings, due, chosen, planned, window, newest, now)
    turns = [Turn(each.id, each.slot) for position, each in enumerate(due) if position not in served]
    carried_alone = carried.fold(session, settings, turns, now)
    _advance(session, due, considered)
    return len(planned) + carried_alone


def _served(session: Session, due: Sequence[Due]) -> set[int]:
    """Positions of readers who have a digest for their slot. They are locked, so no other planner adds one."""
    statement = text("""
        SELECT due.position - 1
        FROM unnest(CAST(:ids AS bigint[]), CAST(:slots AS timestamptz[])) WITH ORDINALITY AS due (id, slot, position)
        JOIN digest ON digest.reader_id = due.id AND digest.slot = due.slot
    """)
    values = {"ids": [reader.id for reader in due], "slots": [reader.slot for reader in due]}
    return set(session.scalars(statement, values))


def _write(
    session: Session,
    settings: Settings,
    due: Sequence[Due],
    chosen: rank.Chosen,
    planned: Sequence[int],
    window: int,
    newest: int,
    now: datetime,
) -> None:
    """Step 4. Ids are drawn first, so that a digest and its delivery go in by COPY without a look in between."""
    draw = text("SELECT nextval(pg_get_serial_sequence('digest', 'id')) FROM generate_series(1, :count)")
    digest_ids = session.scalars(draw, {"count": len(planned)}).all()
    start, reason_start = chosen.start.tolist(), chosen.reason_start.tolist()
    paper, matched = chosen.paper.tolist(), chosen.matched.tolist()
    reason_paper, reason_query = chosen.reason_paper.tolist(), chosen.reason_query.tolist()
    patience = timedelta(hours=settings.deadline_hours)
    message_ids = rows.message_ids(settings.mail_domain, len(planned))
    kind, priority = DeliveryKind.DIGEST, rows.PRIORITY[DeliveryKind.DIGEST]
    digests, deliveries = [], []
    for digest_id, position, message_id in zip(digest_ids, planned, message_ids, strict=True):
        reader = due[position]
        papers = paper[start[position] : start[position + 1]]
        why = slice(reason_start[position], reason_start[position + 1])
        slot = reader.slot.isoformat()
        digests.append(
            f"{digest_id}\t{reader.id}\t{slot}\t{max(reader.last_edition_id, window) + 1}\t{newest}\t"
            f"{integers(papers)}\t{integers(reason_paper[why])}\t{integers(reason_query[why])}\t{matched[position]}\n"
        )
        # Where the slot is long past, some time is left all the same: late is better than never.
        deadline = max(reader.slot + patience, now + patience / 4)
        deliveries.append(
            f"{kind}\t{priority}\t{reader.id}\t{digest_id}\t{message_id}\t{slot}\t{deadline.isoformat()}\n"
        )
    with raw(session).cursor() as cursor:
        with cursor.copy(
            "COPY digest (id, reader_id, slot, first_edition_id, last_edition_id, paper_ids, reason_papers,"
            " reason_queries, matched) FROM STDIN"
        ) as copy:
            copy.write("".join(digests))
        with cursor.copy(
            "COPY delivery (kind, priority, reader_id, digest_id, message_id, due_at, deadline) FROM STDIN"
        ) as copy:
            copy.write("".join(deliveries))


def _advance(session: Session, due: Sequence[Due], considered: Sequence[int]) -> None:
    """Step 5. ``considered``: for each reader the newest edition that has been looked through."""
    statement = text("""
        UPDATE reader SET
            next_digest_at = advanced.next_digest_at,
            last_edition_id = greatest(reader.last_edition_id, advanced.last_edition_id)
        FROM unnest(CAST(:ids AS bigint[]), CAST(:slots AS timestamptz[]), CAST(:considered AS integer[]))
            AS advanced (id, next_digest_at, last_edition_id)
        WHERE reader.id = advanced.id
    """)
    values = {
        "ids": [reader.id for reader in due],
        "slots": [reader.next_digest_at for reader in due],
        "considered": list(considered),
    }
    session.execute(statement, values)
