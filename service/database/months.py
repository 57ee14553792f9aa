"""Digests and deliveries are kept by the month: each calendar month of UTC has a partition of both tables.

The month is in the id: the months since January 2000, then :data:`NUMBER_BITS` bits of a sequence that both tables
share. So whoever knows an id knows its partition, the primary key alone keeps ids apart, and what has served its time
is dropped with its month instead of being deleted row by row. Ids fit into 48 bits until April 2085, as many as a
return address holds, and into every JSON number. What was there before the months has numbers without one and stays in
a partition of its own (docs/decisions/036-months.md).

A digest's month is that of its slot, and a digest's delivery has the digest's id; other mail is of the month in which
its row was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.database.engine import Database

Ints = NDArray[np.int64]

NUMBER_BITS: Final = 38
"""275 thousand million numbers: ten million mails a day for seventy-five years."""
MONTHS: Final = 1 << 10
"""So many months have ids of 48 bits."""
AHEAD: Final = 2
"""Months that are made before they begin."""
_FIRST_YEAR: Final = 2000
_MONTHS_SINCE_1970: Final = (_FIRST_YEAR - 1970) * 12
_PARTITION: Final = re.compile(r"(?:delivery|digest)_((?:before_)?([0-9]{4})_([0-9]{2}))")

_HELD: Final = text("""
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = to_regclass('public.delivery') ORDER BY relname
""")


@dataclass(frozen=True, slots=True)
class Held:
    """A partition of both tables."""

    name: str
    """What follows ``delivery_`` and ``digest_``."""
    before: bool
    """Whether it is what was there before the months."""
    end: int
    """The first month that is not in it."""


def month_of(moment: datetime) -> int:
    """The month in which a moment lies: months since January 2000, UTC. Raises ValueError for one that has no ids."""
    at = moment.astimezone(UTC)
    return _checked((at.year - _FIRST_YEAR) * 12 + at.month - 1)


def months_of(microseconds: Ints) -> Ints:
    """The same of many moments, in microseconds of Unix time, unchecked."""
    months: Ints = microseconds.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return months - _MONTHS_SINCE_1970


def beginning(month: int) -> datetime:
    """The first moment of a month."""
    return datetime(_FIRST_YEAR + month // 12, 1 + month % 12, 1, tzinfo=UTC)


def first_id(month: int) -> int:
    """The smallest id of a month; that of the next month is the first too large."""
    return _checked(month) << NUMBER_BITS


def ids(months: Ints, numbers: Ints) -> Ints:
    """Ids of :func:`months_of` and numbers of the sequence."""
    return months << NUMBER_BITS | numbers


def draw(session: Session, month: int) -> int:
    """A new id of a month, which must be there (:func:`make`)."""
    number = session.scalar(text("SELECT nextval('public.mail_number')"))
    return first_id(month) | int(number or 0)


def make(database: Database, months: Iterable[int]) -> int:
    """See that these months can be written to; how many had to be made.

    In a transaction of its own that makes nobody wait who reads or writes. Any number may do it at once.
    """
    made = 0
    with database.connection() as connection:
        for month in sorted(set(months)):
            made += bool(connection.scalar(text("SELECT public.make_month(:month)"), {"month": _checked(month)}))
    return made


def make_ahead(database: Database, *, now: datetime | None = None) -> int:
    """:func:`make` this month and the next ones."""
    month = month_of(now or datetime.now(UTC))
    return make(database, range(month, month + AHEAD + 1))


def held(connection: Connection) -> list[Held]:
    """What there is."""
    found = []
    for name in connection.scalars(_HELD):
        match = _PARTITION.fullmatch(name)
        if match is not None:
            month = (int(match[2]) - _FIRST_YEAR) * 12 + int(match[3]) - 1
            before = match[1].startswith("before_")
            found.append(Held(match[1], before, month if before else month + 1))
    return found


def drop(database: Database, partition: Held, before: datetime) -> bool:
    """Drop a partition whole, with what is carried over from it and its letters; whether that was done.

    It is not done while something in it is not settled, or was settled since ``before``; nor where its locks are not
    to be had within half a second, so that nobody waits longer: then the next call may do it.
    """
    values = {"name": partition.name, "before": before}
    try:
        with database.connection() as connection:
            return bool(connection.scalar(text("SELECT public.drop_month(:name, :before)"), values))
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise


def is_partition(table: str | None) -> bool:
    """Whether a table is one of these partitions: they are made in time, not declared."""
    return table is not None and _PARTITION.fullmatch(table) is not None


def _checked(month: int) -> int:
    if not 0 < month < MONTHS:
        raise ValueError(f"{_FIRST_YEAR + month // 12}-{1 + month % 12:02} has no ids: look at the clock")
    return month
