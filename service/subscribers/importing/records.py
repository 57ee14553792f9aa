"""A CSV file (RFC 4180) as rows of cells, one bad row costing that row only. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

MOST_LINES: Final = 120
"""Line breaks inside quotation marks that one row may hold: a hundred interests, a line each."""
LONGEST_ROW: Final = 250_000
"""Characters."""
_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the file."""

    number: int
    """From 1, the header not counted."""
    cells: tuple[str, ...]
    problem: str = ""
    """Why there are no cells."""
    written: str = ""
    """The row's own text, for the file of bad rows; only with ``problem``."""


def delimiter(header: str) -> str:
    """What parts the cells: the one of comma, semicolon and tab that the header holds most of."""
    return max(_DELIMITERS, key=header.count)


def rows(lines: Iterable[str], parted_by: str) -> Iterator[Row]:
    """Every row after the header, empty lines passed over.

    A quotation mark out of place would swallow rows that follow. So where a row does not parse, or grows beyond what a
    row may hold, its first line is the bad row and the next line begins a new one.
    """
    source = iter(lines)
    again: list[str] = []
    number = 0
    while True:
        line = again.pop() if again else next(source, None)
        if line is None:
            return
        if not line.strip():
            continue
        number += 1
        parts, size = [line], len(line)
        open_quote = line.count('"') % 2 == 1
        while open_quote and len(parts) <= MOST_LINES and size <= LONGEST_ROW:
            following = again.pop() if again else next(source, None)
            if following is None:
                break
            parts.append(following)
            size += len(following)
            open_quote ^= following.count('"') % 2 == 1
        try:
            cells = _cells(parts, parted_by, open_quote=open_quote)
        except csv.Error as error:
            again += reversed(parts[1:])
            yield Row(number, (), f"is not CSV: {error}", _line(line))
            continue
        if not "".join(parts).isascii() and _UNDECODED.search("".join(parts)):
            yield Row(number, (), "is not UTF-8", _line(line))
        else:
            yield Row(number, tuple(cells))


def _cells(parts: list[str], parted_by: str, *, open_quote: bool) -> list[str]:
    """The cells of a row that stands in these lines. Raises csv.Error with what is wrong."""
    if open_quote:
        raise csv.Error("a quotation mark is not closed")
    if sum(map(len, parts)) > LONGEST_ROW:
        raise csv.Error(f"it is longer than {LONGEST_ROW} characters")
    cells, *more = csv.reader(parts, delimiter=parted_by, strict=True)
    if more:
        raise csv.Error("a quotation mark stands in the middle of a cell")
    return cells


_UNDECODED: Final = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes that are not UTF-8 (PEP 383)."""


def _line(text: str) -> str:
    return text.rstrip("\r\n")[:LONGEST_ROW]
