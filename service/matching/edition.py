"""An edition as sets of papers, so that a hundred thousand queries are answered in seconds (decision 013). Pure.

Each distinct word, pair of neighbouring words, author or category of the edition stands for a set of papers, held as
the bits of one integer. A query is then a few operations on integers; one whose words the edition does not hold costs
a look into a dictionary. It finds exactly what :class:`service.matching.index.PaperIndex` finds: tests hold the two
against each other and against a plain reading of the language.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.matching import emphasis
from service.matching.expression import And, Exact, Expression, Not, Or, Text
from service.matching.index import IndexedPaper, folded
from service.matching.normalise import singular
from service.matching.places import BITS, Place

_ANYWHERE: Final = (("title", Place.TITLE), ("abstract", Place.ABSTRACT), ("keywords", Place.KEYWORDS))
_PLACES: Final = {**dict(_ANYWHERE), "org": Place.ORGANIZATION}
_SUBJECT: Final = "about"
"""The field of what abstracts dwell on: whole runs of words."""
_END: Final = " | "
"""Between the texts of one field: no token holds it, so no phrase spans it."""
_CELLS: Final = 4_000_000
"""Pairs of query and paper unpacked at a time."""
_REMEMBERED: Final = 100_000
MOST_COST: Final = 2_000
"""Of one query, by :func:`cost`: some milliseconds. The language allows less; this holds whatever it comes to allow."""
PREFIX_COST: Final = 50
"""Of the beginning of a word: as many words begin so as there are, hundreds of unions of sets."""

Planes = tuple[tuple[int, int], ...]
"""Pairs of (place, the papers in which it was found there)."""
_Found = tuple[int, Planes]
"""The papers, and where."""
_NOTHING: Final[_Found] = (0, ())


@dataclass(frozen=True, slots=True)
class Matched:
    """What several queries found: those of query i are ``paper_ids[start[i]:start[i + 1]]``, ascending."""

    start: NDArray[np.int64]
    paper_ids: NDArray[np.int64]
    places: NDArray[np.uint8]
    """Parallel to ``paper_ids``: :class:`Place`."""


class EditionIndex:
    """The papers of an edition, whose ids must be distinct."""

    def __init__(self, papers: Iterable[IndexedPaper]) -> None:
        ordered = sorted(papers, key=lambda paper: paper.id)
        self._ids = np.array([paper.id for paper in ordered], np.int64)
        self._texts: dict[str, list[str]] = {field: [] for field in _PLACES}
        self._sets: dict[str, dict[str, int]] = {}
        for position, paper in enumerate(ordered):
            read, bit = folded(paper), 1 << position
            for field, texts in read.running.items():
                self._texts[field].append(f" {_END.join(texts)} ")
                found: set[str] = set()
                for text in texts:
                    words = text.split()
                    found.update(words)
                    found.update([f"{first} {second}" for first, second in pairwise(words)])
                self._add(field, found, bit)
            for field, values in read.whole.items():
                self._add(field, values, bit)
        self._somewhere = frozenset[str]().union(*(self._sets.get(field, {}) for field, _ in _ANYWHERE))
        self._words = {
            field: sorted(each for each in self._sets.get(field, {}) if " " not in each)
            for field in (*_PLACES, _SUBJECT)
        }
        self._everything = (1 << len(ordered)) - 1
        self._remembered: dict[Text | str, _Found] = {}

    def _add(self, field: str, found: Iterable[str], bit: int) -> None:
        sets = self._sets.setdefault(field, {})
        for each in found:
            sets[each] = sets.get(each, 0) | bit

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, expression: Expression) -> list[tuple[int, Place]]:
        """The papers that one query matches, by id, and where."""
        found = self.search_all([expression])
        return [(int(paper), Place(int(place))) for paper, place in zip(found.paper_ids, found.places, strict=True)]

    def search_all(self, expressions: Sequence[Expression | None]) -> Matched:
        """What each of the queries matches; None matches nothing."""
        answers = [_NOTHING if each is None else self._of(each) for each in expressions]
        hit = np.array([position for position, (papers, _) in enumerate(answers) if papers], np.int64)
        width = (len(self._ids) + 7) // 8
        step = max(_CELLS // max(width * 8, 1), 1)
        counts = np.zeros(len(answers), np.int64)
        ids, places = [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
        for start in range(0, len(hit), step):
            part = hit[start : start + step]
            cells = self._unpacked([answers[position] for position in part.tolist()], width)
            row, column = np.nonzero(cells)
            counts[part] = np.bincount(row, minlength=len(part))
            ids.append(self._ids[column])
            places.append(cells[row, column])
        return Matched(np.concatenate(([0], np.cumsum(counts))), np.concatenate(ids), np.concatenate(places))

    @staticmethod
    def _unpacked(answers: Sequence[_Found], width: int) -> NDArray[np.uint8]:
        """One row for each answer, one column for each paper: the places, or 0."""
        packed: list[list[bytes]] = [[] for _ in range(BITS)]
        empty = bytes(width)
        for papers, planes in answers:
            here: dict[int, int] = {}
            there = 0
            for place, where in planes:
                here[place] = here.get(place, 0) | where
                there |= where
            if papers != there:
                here[Place.TAG] = here.get(Place.TAG, 0) | (papers & ~there)
            for bit in range(BITS):
                bits = here.get(1 << bit)
                packed[bit].append(empty if bits is None else bits.to_bytes(width, "little"))
        cells = np.zeros((len(answers), width * 8), np.uint8)
        for bit, rows in enumerate(packed):
            plane = np.frombuffer(b"".join(rows), np.uint8)
            if plane.any():
                cells |= np.unpackbits(plane, bitorder="little").reshape(cells.shape) << np.uint8(bit)
        return cells

    def _of(self, expression: Expression) -> _Found:
        match expression:
            case Text(words, None, False):
                # Most of what people ask for; and most of it is not there.
                if len(words) == 1:
                    key = words[0]
                elif len(words) == 2:
                    key = f"{words[0]} {words[1]}"
                elif all(f"{first} {second}" in self._somewhere for first, second in pairwise(words)):
                    key = " ".join(words)
                else:
                    return _NOTHING
                if len(words) < 3 and key not in self._somewhere:
                    return _NOTHING
                return self._remembered.get(key) or self._remember(key, expression)
            case Text():
                return self._remembered.get(expression) or self._remember(expression, expression)
            case Exact(field, value):
                papers = self._sets.get(field, {}).get(value, 0)
                place = Place.AUTHOR if field == "author" else Place.TAG
                return (papers, ((int(place), papers),)) if papers else _NOTHING
            case Or(parts):
                papers = 0
                planes: Planes = ()
                for part in parts:
                    more, where = self._of(part)
                    papers, planes = papers | more, planes + where
                return papers, planes
            case And(parts):
                return self._of_all(parts)
            case Not(part):
                return self._everything & ~self._of(part)[0], ()

    def _remember(self, key: Text | str, text: Text) -> _Found:
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        found = self._remembered[key] = self._of_text(text)
        return found

    def _of_all(self, parts: Sequence[Expression]) -> _Found:
        papers = self._everything
        planes: Planes = ()
        for part in parts:
            if isinstance(part, Not):
                papers &= ~self._of(part.part)[0]
            else:
                more, where = self._of(part)
                papers, planes = papers & more, planes + where
            if not papers:
                return _NOTHING
        return papers, tuple([(place, where & papers) for place, where in planes if where & papers])

    def _of_text(self, text: Text) -> _Found:
        fields: Sequence[tuple[str, Place]] = _ANYWHERE
        if text.field not in (None, _SUBJECT):
            fields = ((text.field, _PLACES[text.field]),)
        papers = 0
        planes: list[tuple[int, int]] = []
        for field, place in fields:
            where = self._begun(field, text.words[0]) if text.prefix else self._in_a_row(field, text.words)
            dwelt = where & self._dwelt_on(text) if where and field == "abstract" else 0
            if text.field == _SUBJECT and field == "abstract":
                where = dwelt
            if dwelt:
                planes.append((int(Place.DWELT_ON), dwelt))
            if where:
                papers |= where
                planes.append((int(place), where))
                if place is Place.TITLE and len(text.words) > 1:
                    planes.append((int(Place.PHRASE), where))
        return (papers, tuple(planes)) if papers else _NOTHING

    def _dwelt_on(self, text: Text) -> int:
        if text.prefix:
            return self._begun(_SUBJECT, text.words[0])
        return self._sets.get(_SUBJECT, {}).get(emphasis.asked(text.words), 0)

    def _in_a_row(self, field: str, words: tuple[str, ...]) -> int:
        sets = self._sets.get(field)
        if sets is None:
            return 0
        if len(words) == 1:
            return sets.get(words[0], 0)
        papers = self._everything
        for first, second in pairwise(words):
            papers &= sets.get(f"{first} {second}", 0)
            if not papers:
                return 0
        if len(words) == 2:
            return papers
        # Each pair is there, perhaps not one after the other.
        wanted, texts = f" {' '.join(words)} ", self._texts[field]
        for position in _members(papers):
            if wanted not in texts[position]:
                papers ^= 1 << position
        return papers

    def _begun(self, field: str, start: str) -> int:
        sets, words = self._sets.get(field, {}), self._words[field]
        # The index holds "model" for "models".
        papers = sets.get(singular(start), 0)
        for at in range(bisect_left(words, start), len(words)):
            if not words[at].startswith(start):
                break
            papers |= sets[words[at]]
        return papers


def cost(expression: Expression) -> int:
    """About how many looks into the index a query takes; one is less than a microsecond."""
    match expression:
        case Text(words, _, prefix):
            return PREFIX_COST if prefix else len(words)
        case Exact():
            return 1
        case Not(part):
            return 1 + cost(part)
        case And(parts) | Or(parts):
            return sum(1 + cost(part) for part in parts)


def _members(papers: int) -> list[int]:
    members = []
    while papers:
        lowest = papers & -papers
        members.append(lowest.bit_length() - 1)
        papers ^= lowest
    return members
