"""Columns of numbers in and out of PostgreSQL without a Python object for each (its binary forms, big-endian).

Out: ``array_send(array_agg(column))`` is one value for a whole column. In: ``COPY … (FORMAT binary)``, composed here;
and columns of numbers as parameters of a :func:`cursor`.
See "Binary Format" under COPY in PostgreSQL's manual, and ``array_send`` in its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy.orm import Session

from service.database import statements
from service.database.engine import raw

Ints = NDArray[np.int64]

EPOCH: Final = 946_684_800_000_000
"""The year 2000 in microseconds of Unix time: PostgreSQL counts a timestamptz from there."""
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_INT8_OID: Final = 20
_INT8_ARRAY_OID: Final = 1016
_TIMESTAMPTZ_OID: Final = 1184
_KIND: Final = {20: ">i8", 23: ">i4", 21: ">i2"}
"""Types of integers by their oid."""
_OID: Final = {kind: oid for oid, kind in _KIND.items()}


@dataclass(frozen=True, slots=True)
class Ragged:
    """A column of type ``bigint[]`` or ``smallint[]``: row i holds ``values[start[i]:start[i + 1]]``."""

    start: Ints
    values: NDArray[Any]
    kind: Literal[">i8", ">i2"] = ">i8"
    """The type of the elements."""


class _Column(Dumper):
    """An array of integers as ``bigint[]``."""

    format = Format.BINARY
    oid = _INT8_ARRAY_OID

    def dump(self, obj: Ints) -> bytes:
        if not len(obj):
            return np.array([0, 0, _INT8_OID], ">i4").tobytes()
        elements = np.empty(len(obj), np.dtype([("length", ">i4"), ("value", ">i8")]))
        elements["length"], elements["value"] = 8, obj
        return np.array([1, 0, _INT8_OID, len(obj), 1], ">i4").tobytes() + elements.tobytes()


def cursor(session: Session) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor to which numpy's arrays of integers are ``bigint[]``, and whose answers :func:`numbers` reads."""
    opened = raw(session).cursor(binary=True)
    opened.adapters.register_dumper(np.ndarray, _Column)
    return opened


def numbers(sent: object) -> Ints:
    """What ``array_send`` made of an array of integers without nulls; None (nothing was aggregated) is no numbers.

    An array of timestamptz is microseconds of Unix time.
    """
    if not isinstance(sent, bytes) or int.from_bytes(sent[:4], "big") == 0:
        return np.empty(0, np.int64)
    oid = int.from_bytes(sent[8:12], "big")
    kind = ">i8" if oid == _TIMESTAMPTZ_OID else _KIND[oid]
    elements = np.frombuffer(sent, np.dtype([("length", ">i4"), ("value", kind)]), offset=20)
    values = elements["value"].astype(np.int64)
    return values + EPOCH if oid == _TIMESTAMPTZ_OID else values


def elements(sent: object, sizes: Ints, kind: str) -> NDArray[Any]:
    """What many ``array_send`` one after the other hold, of arrays of such sizes without nulls; None is nothing.

    ``kind`` is the elements' type, big-endian: ``>i8``, ``>i4`` or ``>i2``.
    """
    width = np.dtype(kind).itemsize
    if not isinstance(sent, bytes) or not sizes.any():
        return np.empty(0, np.int64)
    # An array that holds something has its number and first index besides the three fields of every array; and each
    # element its length. All of it is even, so it is read in words of 16 bits.
    words = np.frombuffer(sent, np.uint16)
    header, each = np.where(sizes > 0, 10, 6), (4 + width) // 2
    first = np.cumsum(header + sizes * each) - sizes * each
    place = np.repeat(first - each * (np.cumsum(sizes) - sizes), sizes) + each * np.arange(int(sizes.sum()))
    parts = np.stack([words[place + 2 + part] for part in range(width // 2)], axis=1)
    return parts.view(kind).ravel().astype(np.int64)


def timestamps(microseconds: Ints) -> NDArray[Any]:
    """Microseconds of Unix time as a column of timestamptz."""
    return (microseconds - EPOCH).astype(">i8")


def copy(connection: psycopg.Connection[Any], statement: str, rows: bytes) -> None:
    """Run a ``COPY … FROM STDIN (FORMAT binary)`` with rows of :func:`fixed` or :func:`ragged`."""
    with statements.traced(statement), connection.cursor() as cursor, cursor.copy(statement) as into:
        for part in (_HEADER, rows, _TRAILER):
            into.write(part)


def fixed(columns: Sequence[NDArray[Any]]) -> bytes:
    """Rows of columns that are as wide in every row: big-endian integers, or bytes of one length for text."""
    fields: list[tuple[str, Any]] = [("count", ">i2")]
    for number, column in enumerate(columns):
        fields += [(f"width{number}", ">i4"), (f"value{number}", column.dtype)]
    rows = np.empty(len(columns[0]), np.dtype(fields))
    rows["count"] = len(columns)
    for number, column in enumerate(columns):
        rows[f"width{number}"] = column.dtype.itemsize
        rows[f"value{number}"] = column
    return rows.tobytes()


def ragged(columns: Sequence[NDArray[Any] | Ragged]) -> bytes:
    """Rows of big-endian integers of 2, 4 or 8 bytes, and of arrays."""
    count = len(columns[0]) if not isinstance(columns[0], Ragged) else len(columns[0].start) - 1
    # Everything has an even number of bytes, so it is laid out in words of 16 bits.
    width = np.ones(count, np.int64)
    for column in columns:
        width += _words(column)
    place = np.cumsum(width) - width
    words = np.zeros(int(width.sum()), np.uint16)
    words[place] = np.array([len(columns)], ">i2").view(np.uint16)
    place = place + 1
    for column in columns:
        if isinstance(column, Ragged):
            _lay_array(words, place, column)
        else:
            length = np.full(count, column.dtype.itemsize, ">i4")
            _lay(words, place, length)
            _lay(words, place + 2, column)
        place = place + _words(column)
    return words.tobytes()


def _words(column: NDArray[Any] | Ragged) -> Ints | int:
    """How many words of 16 bits the column takes in each row."""
    if not isinstance(column, Ragged):
        return 2 + column.dtype.itemsize // 2
    size = np.diff(column.start)
    return np.where(size > 0, 12 + _element_words(column) * size, 8)


def _element_words(column: Ragged) -> int:
    """Its length and its value."""
    return 2 + np.dtype(column.kind).itemsize // 2


def _lay(words: NDArray[np.uint16], place: Ints, values: NDArray[Any]) -> None:
    parts = np.ascontiguousarray(values).view(np.uint16).reshape(len(values), values.dtype.itemsize // 2)
    for at in range(parts.shape[1]):
        if parts[:, at].any():
            words[place + at] = parts[:, at]


def _lay_array(words: NDArray[np.uint16], place: Ints, column: Ragged) -> None:
    size = np.diff(column.start)
    filled = size > 0
    each = _element_words(column)
    # Length; dimensions, no nulls, the type of the elements; then their number and the first index.
    _lay(words, place, np.where(filled, 20 + 2 * each * size, 12).astype(">i4"))
    _lay(words, place + 2, filled.astype(">i4"))
    _lay(words, place + 6, np.full(len(size), _OID[column.kind], ">i4"))
    _lay(words, place[filled] + 8, size[filled].astype(">i4"))
    _lay(words, place[filled] + 10, np.ones(int(filled.sum()), ">i4"))
    first = np.repeat(place + 12 - each * (column.start[:-1] - column.start[0]), size)
    at = first + each * np.arange(len(first))
    _lay(words, at, np.full(len(at), np.dtype(column.kind).itemsize, ">i4"))
    _lay(words, at + 2, column.values[column.start[0] : column.start[-1]].astype(column.kind))
