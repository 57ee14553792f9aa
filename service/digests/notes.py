"""Which note stands on top of which digest.

That is decided once, when a digest is planned, and kept in ``digest.note_id``; the words of a note never change. So a
crash or a retry carries the same note, and saving or withdrawing one touches only digests that are planned later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from service.database import bulk
from service.database.tables import Digest, EditorNote
from service.mails import note
from service.mails.note import NoteError

NEXT_ROUND: Final = timedelta(days=8)
"""How long a note for the next digest waits for a reader's: a weekly one comes within it."""
_ZONES: Final = timedelta(days=1)
"""Somewhere on Earth it is still yesterday."""
_ON_THESE_DAYS: Final = """
    SELECT array_send(array_agg(due.position - 1))
    FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS due (id, slot, position)
    JOIN reader ON reader.id = due.id
    WHERE (to_timestamp(due.slot / 1000000.0) AT TIME ZONE reader.timezone)::date BETWEEN %s AND %s
"""
_NOT_YET: Final = """
    SELECT array_send(array_agg(due.position - 1))
    FROM unnest(%s::bigint[]) WITH ORDINALITY AS due (id, position)
    WHERE NOT EXISTS (
        SELECT FROM digest WHERE reader_id = due.id AND slot > %s AND note_id = %s
    )
"""
"""Reads the unique index of (reader, slot) of each month."""


@dataclass(frozen=True, slots=True)
class NoteView:
    """A note as it stands."""

    id: int
    words: str
    first_day: date | None
    last_day: date | None
    """None: with each reader's next digest, once."""
    saved_at: datetime
    withdrawn_at: datetime | None
    digests: int
    """That carry it."""

    def is_over(self, now: datetime) -> bool:
        """Whether no digest will carry it any more."""
        if self.withdrawn_at is not None:
            return True
        return self.saved_at + NEXT_ROUND < now if self.last_day is None else self.last_day < (now - _ZONES).date()


def save(
    session: Session, words: str, *, days: tuple[date, date] | None = None, now: datetime | None = None
) -> NoteView:
    """A note for these days of each reader's calendar, both included, or for everybody's next digest.

    Of several for one digest the last saved stands. Raises :class:`NoteError`.
    """
    tidy, moment = note.check(words), now or datetime.now(UTC)
    first, last = days or (None, None)
    if first is not None and last is not None:
        if last < first:
            raise NoteError(f"the last day, {last}, comes before the first, {first}: swap them")
        if last < (moment - _ZONES).date():
            raise NoteError(f"the last day, {last}, is over everywhere: choose one to come")
    row = EditorNote(words=tidy, first_day=first, last_day=last, saved_at=moment)
    session.add(row)
    session.flush()
    return _view(row, 0)


def withdraw(session: Session, note_id: int, *, now: datetime | None = None) -> NoteView:
    """No digest planned from now on carries it. Raises :class:`NoteError` for one that is not there."""
    session.execute(
        update(EditorNote)
        .where(EditorNote.id == note_id, EditorNote.withdrawn_at.is_(None))
        .values(withdrawn_at=now or datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
    row = session.get(EditorNote, note_id, populate_existing=True)
    if row is None:
        raise NoteError(f"there is no note {note_id}: the list of notes shows them all")
    return _view(row, _carried_by(session, [row.id]).get(row.id, 0))


def listing(session: Session, *, limit: int = 20) -> list[NoteView]:
    """The newest first."""
    rows = session.scalars(select(EditorNote).order_by(EditorNote.id.desc()).limit(limit)).all()
    carried = _carried_by(session, [row.id for row in rows])
    return [_view(row, carried.get(row.id, 0)) for row in rows]


def words_of(session: Session, note_id: int) -> str:
    """What a note says; nothing for 0."""
    return (session.scalar(select(EditorNote.words).where(EditorNote.id == note_id)) if note_id else None) or ""


def for_digests(
    session: Session, reader_ids: NDArray[np.int64], slots: NDArray[np.int64], now: datetime
) -> NDArray[np.int32]:
    """The note of each reader's digest that is being planned, 0 for none. ``slots``: microseconds of Unix time.

    One small query while there is no note in force.
    """
    chosen = np.zeros(len(reader_ids), np.int32)
    for row in _in_force(session, now):
        free = np.flatnonzero(chosen == 0)
        if not len(free):
            break
        with bulk.cursor(session) as cursor:
            if row.first_day is None:
                values = (reader_ids[free], row.saved_at - NEXT_ROUND, row.id)
                found = cursor.execute(_NOT_YET, values).fetchall()
            else:
                days = (reader_ids[free], slots[free], row.first_day, row.last_day)
                found = cursor.execute(_ON_THESE_DAYS, days).fetchall()
        chosen[free[bulk.numbers(found[0][0])]] = row.id
    return chosen


def for_one(session: Session, reader_id: int, slot: datetime, now: datetime) -> int:
    """:func:`for_digests` for one reader."""
    at = np.array([int(slot.timestamp() * 1_000_000)], np.int64)
    return int(for_digests(session, np.array([reader_id], np.int64), at, now)[0])


def _in_force(session: Session, now: datetime) -> list[EditorNote]:
    """The last saved first."""
    statement = select(EditorNote).where(
        EditorNote.withdrawn_at.is_(None),
        or_(
            EditorNote.last_day >= (now - timedelta(days=15)).date(),
            EditorNote.last_day.is_(None) & (EditorNote.saved_at > now - NEXT_ROUND),
        ),
    )
    return list(session.scalars(statement.order_by(EditorNote.id.desc())))


def _carried_by(session: Session, note_ids: list[int]) -> dict[int, int]:
    statement = (
        select(Digest.note_id, func.count())
        .where(Digest.note_id.in_(note_ids), Digest.note_id > 0)
        .group_by(Digest.note_id)
    )
    return dict(session.execute(statement).all()) if note_ids else {}


def _view(row: EditorNote, digests: int) -> NoteView:
    return NoteView(row.id, row.words, row.first_day, row.last_day, row.saved_at, row.withdrawn_at, digests)
