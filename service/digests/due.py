"""Whose turn it is: due readers locked and fetched as arrays, and advanced when they have been planned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import structlog
from sqlalchemy.orm import Session

from service.database import bulk
from service.database.arrays import integers
from service.database.engine import raw
from service.digests.candidates import Due, Ints
from service.settings import Settings
from service.subscribers import schedule

log = structlog.get_logger(__name__)

_EVERY_SLOT_COMES_WITHIN: Final = timedelta(days=8)

_COLUMNS: Final = """
    SELECT array_send(array_agg(id)), array_send(array_agg((extract(epoch FROM next_digest_at) * 1000000)::bigint)),
        array_send(array_agg(paper_limit)), array_send(array_agg(last_edition_id)),
        array_send(array_agg(trending::int)), array_send(array_agg(digest_hour)), array_send(array_agg(weekdays)),
        string_agg(timezone, E'\\n')
    FROM due
"""
_LOCKED: Final = "id, next_digest_at, paper_limit, last_edition_id, trending, digest_hour, weekdays, timezone"
_DUE: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT {_LOCKED} FROM reader WHERE state = 'active' AND next_digest_at <= %(now)s
        ORDER BY next_digest_at, id LIMIT %(chunk)s FOR UPDATE SKIP LOCKED
    ) {_COLUMNS}
"""  # noqa: S608 (constants of this module)
"""Reads ix_reader_due."""
_ALL: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT {_LOCKED} FROM reader WHERE state = 'active' AND id > %(after)s AND paused_until IS NULL
        ORDER BY id LIMIT %(chunk)s FOR UPDATE
    ) {_COLUMNS}
"""  # noqa: S608
_ADVANCE: Final = """
    UPDATE reader SET
        next_digest_at = moment.at,
        last_edition_id = greatest(reader.last_edition_id, advanced.last_edition_id)
    FROM unnest(%(ids)s::bigint[], %(moments)s::int[], %(considered)s::int[]) AS advanced (id, moment, last_edition_id)
    JOIN unnest(%(at)s::timestamptz[]) WITH ORDINALITY AS moment (at, number) ON moment.number = advanced.moment + 1
    WHERE reader.id = advanced.id
"""


def lock(session: Session, settings: Settings, now: datetime) -> Due:
    """Readers whose slot has come, the longest waiting first, passing over those whom another planner holds."""
    return _fetched(session, _DUE, {"now": now, "chunk": settings.plan_chunk}, now)


def lock_all(session: Session, settings: Settings, now: datetime, after_id: int) -> Due:
    """The next active readers by id who have not paused, for a digest of this moment; their schedule stays as it is.

    Waits for one that somebody else holds: due readers would be found again, these would not.
    """
    return _fetched(session, _ALL, {"after": after_id, "chunk": settings.plan_chunk}, now, everyone=True)


def advance(session: Session, due: Due, considered: Ints) -> None:
    """Give each reader their next slot. ``considered``: for each the newest edition that has been looked through."""
    moments, which = np.unique(due.next_digest_at, return_inverse=True)
    values = {
        "ids": integers(due.id.tolist()),
        "moments": integers(which.tolist()),
        "considered": integers(considered.tolist()),
        "at": [moment(each) for each in moments.tolist()],
    }
    raw(session).execute(_ADVANCE, values)


def moment(microseconds: int) -> datetime:
    """Microseconds of Unix time as a moment."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def microseconds(moment: datetime) -> int:
    """A moment as microseconds of Unix time."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _fetched(session: Session, statement: str, values: dict[str, Any], now: datetime, *, everyone: bool = False) -> Due:
    with raw(session).cursor(binary=True) as cursor:
        row: Sequence[Any] = cursor.execute(statement, values).fetchall()[0]
    ids, slots, limits, editions, trending, hours, weekdays = map(bulk.numbers, row[:7])
    following = slots
    if everyone:
        slots = np.full(len(ids), microseconds(now), np.int64)
    elif len(ids):
        # Readers of one schedule whose turn it is at one moment are many; the calendar is asked once for all of them.
        keys = list(zip(slots.tolist(), row[7].split("\n"), hours.tolist(), weekdays.tolist(), strict=True))
        answers = {key: _turn(*key, now) for key in dict.fromkeys(keys)}
        turns = np.array([answers[key] for key in keys], np.int64)
        slots, following = turns[:, 0], turns[:, 1]
    return Due(ids, slots, following, limits, editions, trending.astype(np.bool_))


def _turn(slot_at: int, timezone: str, hour: int, weekdays: int, now: datetime) -> tuple[int, int]:
    """The slot to plan for and the one after it, in microseconds.

    After days of standstill the reader gets one digest, for the newest slot, with everything since the last.
    """
    slot = moment(slot_at)
    following = _after(max(slot, now - _EVERY_SLOT_COMES_WITHIN), timezone, hour, weekdays)
    while following <= now:
        slot, following = following, _after(following, timezone, hour, weekdays)
    return microseconds(slot), microseconds(following)


def _after(slot: datetime, timezone: str, hour: int, weekdays: int) -> datetime:
    try:
        return schedule.next_slot(slot, timezone=timezone, hour=hour, weekdays=weekdays)
    except schedule.ScheduleError as error:
        # A zone that the tables of zones have dropped must not keep a whole chunk from being planned.
        log.error("plan.schedule_unusable", timezone=timezone, error=str(error))
        return slot + timedelta(days=1)
