"""Columns of numbers in and out of PostgreSQL without a Python object for each (its binary forms, big-endian).

Out: ``array_send(array_agg(column))`` is one value for a whole column. In: ``COPY … (FORMAT binary)``, composed here.
See "Binary Format" under COPY in PostgreSQL's manual, and ``array_send`` in its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

Ints = NDArray[np.int64]

EPOCH: Final = 946_684_800_000_000
"""The year 2000 in microseconds of Unix time: PostgreSQL counts a timestamptz from there."""
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_INT8_OID: Final = 20
_KIND: Final = {20: ">i8", 23: ">i4", 21: ">i2"}
"""Types of integers by their oid."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """A column of type ``bigint[]``: row i holds ``values[start[i]:start[i + 1]]``."""

    start: Ints
    values: Ints


def numbers(sent: object) -> Ints:
    """What ``array_send`` made of an array of integers without nulls; None (nothing was aggregated) is no numbers."""
    if not isinstance(sent, bytes) or int.from_bytes(sent[:4], "big") == 0:
        return np.empty(0, np.int64)
    kind = _KIND[int.from_bytes(sent[8:12], "big")]
    elements = np.frombuffer(sent, np.dtype([("length", ">i4"), ("value", kind)]), offset=20)
    return elements["value"].astype(np.int64)


def timestamps(microseconds: Ints) -> NDArray[Any]:
    """Microseconds of Unix time as a column of timestamptz."""
    return (microseconds - EPOCH).astype(">i8")


def copy(connection: psycopg.Connection[Any], statement: str, rows: bytes) -> None:
    """Run a ``COPY … FROM STDIN (FORMAT binary)`` with rows of :func:`fixed` or :func:`ragged`."""
    with connection.cursor() as cursor, cursor.copy(statement) as into:
        into.write(_HEADER + rows + _TRAILER)


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
    return np.where(size > 0, 12 + 6 * size, 8)


def _lay(words: NDArray[np.uint16], place: Ints, values: NDArray[Any]) -> None:
    parts = np.ascontiguousarray(values).view(np.uint16).reshape(len(values), values.dtype.itemsize // 2)
    for at in range(parts.shape[1]):
        if parts[:, at].any():
            words[place + at] = parts[:, at]


def _lay_array(words: NDArray[np.uint16], place: Ints, column: Ragged) -> None:
    size = np.diff(column.start)
    filled = size > 0
    # Length; dimensions, no nulls, the type of the elements; then their number and the first index.
    _lay(words, place, np.where(filled, 20 + 12 * size, 12).astype(">i4"))
    _lay(words, place + 2, filled.astype(">i4"))
    _lay(words, place + 6, np.full(len(size), _INT8_OID, ">i4"))
    _lay(words, place[filled] + 8, size[filled].astype(">i4"))
    _lay(words, place[filled] + 10, np.ones(int(filled.sum()), ">i4"))
    first = np.repeat(place + 12 - 6 * (column.start[:-1] - column.start[0]), size)
    at = first + 6 * np.arange(len(first))
    _lay(words, at, np.full(len(at), 8, ">i4"))
    _lay(words, at + 2, column.values[column.start[0] : column.start[-1]].astype(">i8"))
