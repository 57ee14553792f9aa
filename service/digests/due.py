"""Whose turn it is: due readers locked and fetched as arrays, and advanced when they have been planned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import structlog
from sqlalchemy.orm import Session

from service.database import bulk
from service.digests.candidates import Due, Ints
from service.settings import Settings
from service.subscribers import schedule

log = structlog.get_logger(__name__)

_EVERY_SLOT_COMES_WITHIN: Final = timedelta(days=8)

_COLUMNS: Final = """
    SELECT array_send(array_agg(id)), array_send(array_agg(next_digest_at)), array_send(array_agg(last_edition_id)),
        array_send(array_agg((trending::int << 24) | (weekdays::int << 16) | (digest_hour::int << 8) | paper_limit)),
        string_agg(timezone, E'\\n')
    FROM due
"""
"""The small columns share one number: arrays cost by their elements."""
_LOCKED: Final = "id, next_digest_at, paper_limit, last_edition_id, trending, digest_hour, weekdays, timezone"
_DUE: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT {_LOCKED} FROM reader WHERE state = 'active' AND next_digest_at <= %(now)s
        ORDER BY next_digest_at LIMIT %(chunk)s FOR UPDATE SKIP LOCKED
    ) {_COLUMNS}
"""  # noqa: S608 (constants of this module)
"""Reads ix_reader_due from its beginning; by nothing more than that index holds, or all due readers would be sorted."""
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
    FROM unnest(%(ids)s::bigint[], %(moments)s::bigint[], %(considered)s::bigint[])
        AS advanced (id, moment, last_edition_id)
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
        "ids": due.id,
        "moments": which,
        "considered": considered,
        "at": [moment(each) for each in moments.tolist()],
    }
    with bulk.cursor(session) as cursor:
        cursor.execute(_ADVANCE, values)


def moment(microseconds: int) -> datetime:
    """Microseconds of Unix time as a moment."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def microseconds(moment: datetime) -> int:
    """A moment as microseconds of Unix time."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _fetched(session: Session, statement: str, values: dict[str, Any], now: datetime, *, everyone: bool = False) -> Due:
    with bulk.cursor(session) as cursor:
        row = cursor.execute(statement, values).fetchall()[0]
    ids, slots, editions, small = map(bulk.numbers, row[:4])
    limits, hours, weekdays, trending = (small >> bits & 0xFF for bits in (0, 8, 16, 24))
    following = slots
    if everyone:
        slots = np.full(len(ids), microseconds(now), np.int64)
    elif len(ids):
        slots, following = _turns(slots, row[4].split("\n"), hours, weekdays, now)
    return Due(ids, slots, following, limits, editions, trending.astype(np.bool_))


def _turns(slots: Ints, timezones: list[str], hours: Ints, weekdays: Ints, now: datetime) -> tuple[Ints, Ints]:
    """As :func:`_turn`, for each reader.

    Readers of one schedule whose turn it is at one moment are many; the calendar is asked once for all of them.
    """
    names = list(dict.fromkeys(timezones))
    number = {name: at for at, name in enumerate(names)}
    zone = np.fromiter(map(number.__getitem__, timezones), np.int64, len(timezones))
    at, slot = np.unique(slots, return_inverse=True)
    keys, which = np.unique((((slot << 16) | zone) << 16) | (hours << 8) | weekdays, return_inverse=True)
    turns = np.array(
        [
            _turn(int(at[key >> 32]), names[(key >> 16) & 0xFFFF], (key >> 8) & 0xFF, key & 0xFF, now)
            for key in keys.tolist()
        ],
        np.int64,
    )
    return turns[which, 0], turns[which, 1]


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
