"""What each due reader could get: interests joined with the matches of the editions they have not considered.

In arrays from end to end: an edition's matches are fetched once per run, the interests of a chunk in one statement, and
what a query matches since a reader's last edition is laid out once for all who follow it. Of that, each reader keeps
what may be chosen for them (``matching.shortlist``), a block of readers at a time, so that memory is bounded by the
editions that are new and by the block, however much its readers' interests match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database import Database, bulk
from service.database.tables import Edition
from service.matching import match, rank
from service.matching.shortlist import Lists, Shortlist, positions, shortlist

Ints = NDArray[np.int64]

_BLOCK: Final = 250_000
"""Matches, and words of sets of papers, gone through at a time: the arrays of so many stay in a processor's cache."""
_KEPT_MATCHES: Final = 4_000_000
"""Of lists kept from chunk to chunk: 40 MB."""
_KEPT_WORDS: Final = 8_000_000
"""Of the same lists as sets: 100 MB."""
_QUERY_BITS: Final = 40
_QUERY_MASK: Final = (1 << _QUERY_BITS) - 1
_SAID_BITS: Final = 3
"""What a reader says of an interest: muted, and its weight plus one in two bits."""
_INTERESTS: Final = f"""
    SELECT array_send(array_agg(
        ((due.number - 1) << {_QUERY_BITS + _SAID_BITS}) | (query_id << {_SAID_BITS}) | (muted::int << 2) | (weight + 1)
    ))
    FROM unnest(%s::bigint[]) WITH ORDINALITY AS due (id, number)
    CROSS JOIN LATERAL (
        SELECT query_id, muted, weight FROM interest WHERE reader_id = due.id OFFSET 0
    ) AS theirs
"""  # noqa: S608 (constants of this module)
"""The reader's place in the chunk (20 bits, as ``settings.plan_chunk`` allows), the query and what is said of it in one
number: arrays cost by their elements.

Reads uq_interest_reader_id_query_id alone, a reader at a time: left to itself the planner reads the whole table.
"""
_MATCHES: Final = """
    SELECT array_send(array_agg(query_id)), array_send(array_agg(cardinality(paper_ids))),
        string_agg(array_send(paper_ids), ''), string_agg(array_send(places), '')
    FROM (SELECT query_id, paper_ids, places FROM match WHERE edition_id = %s ORDER BY query_id) AS found
"""
_PAPERS: Final = """
    SELECT array_send(array_agg(id ORDER BY id)), array_send(array_agg(coalesce(upvotes, 0) ORDER BY id))
    FROM paper WHERE edition_id = %s
"""


@dataclass(frozen=True, slots=True)
class Due:
    """Readers to be planned now: parallel arrays. Times are microseconds of Unix time."""

    id: Ints
    slot: Ints
    next_digest_at: Ints
    paper_limit: Ints
    last_edition_id: Ints
    trending: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True)
class Entries:
    """The matches of one edition: ``paper[start[i]:start[i + 1]]`` belong to ``query[i]``, queries ascending."""

    query: Ints
    start: Ints
    paper: NDArray[np.int32]
    """Positions in the edition's papers."""
    places: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Papers:
    """Papers by ascending id."""

    id: Ints
    upvotes: Ints


@dataclass(slots=True)
class Matches:
    """Match rows as arrays, each edition fetched once per run; what is lacking is computed on the way."""

    database: Database
    _entries: dict[int, Entries] = field(default_factory=dict)
    _papers: dict[int, Papers] = field(default_factory=dict)
    _shelf: _Shelf | None = None

    def papers(self, edition_id: int) -> Papers:
        if edition_id not in self._papers:
            with self.database.transaction() as session:
                ids, upvotes = _rows(session, _PAPERS, edition_id)[0]
            self._papers[edition_id] = Papers(bulk.numbers(ids), bulk.numbers(upvotes))
        return self._papers[edition_id]

    def of(self, edition_id: int, query_ids: Ints) -> Entries:
        """The matches of an edition, among them those of ``query_ids``: also of a query followed a moment ago."""
        entries = self._entries.get(edition_id)
        if entries is None:
            entries = self._entries[edition_id] = self._fetch(edition_id)
        lacking = np.unique(query_ids[~_among(query_ids, entries.query)])
        if len(lacking):
            match.fill(self.database, edition_id, lacking.tolist())
            entries = self._entries[edition_id] = self._fetch(edition_id)
        return entries

    def _fetch(self, edition_id: int) -> Entries:
        with self.database.transaction() as session:
            queries, sizes, papers, places = _rows(session, _MATCHES, edition_id)[0]
        size = bulk.numbers(sizes)
        return Entries(
            query=bulk.numbers(queries),
            start=np.concatenate((np.zeros(1, np.int64), np.cumsum(size))),
            paper=np.searchsorted(self.papers(edition_id).id, bulk.elements(papers, size, ">i8")).astype(np.int32),
            places=bulk.elements(places, size, ">i2").astype(np.uint8),
        )

    def lists(self, new: Window, last_edition_id: Ints, query: Ints) -> tuple[Lists, Ints]:
        """What each of the queries matches in the window after the edition named beside it, and which list that is.

        List 0 is empty, and the only empty one. What was laid out for one chunk serves the next.
        """
        wanted, which = np.unique((last_edition_id << _QUERY_BITS) | query, return_inverse=True)
        shelf = self._shelf
        if shelf is None or (shelf.before, shelf.newest) != (new.before, new.newest):
            shelf = _Shelf.empty(new)
        lacking = wanted[~_among(wanted, shelf.key)]
        if len(lacking):
            shelf = shelf.and_that(self._laid_out(lacking, new))
            if shelf.full():
                shelf = _Shelf.empty(new).and_that(self._laid_out(wanted, new))
            self._shelf = shelf
        return shelf.lists, shelf.row[np.searchsorted(shelf.key, wanted)][which]

    def _laid_out(self, wanted: Ints, new: Window) -> _Shelf:
        last, query = wanted >> _QUERY_BITS, wanted & _QUERY_MASK
        of, paper, places = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.uint8)]
        for edition_id in range(new.before + 1, new.newest + 1):
            new_to = np.flatnonzero(last < edition_id)
            if not len(new_to):
                continue
            entries = self.of(edition_id, query[new_to])
            start = np.searchsorted(entries.query, query[new_to])
            which, place = positions(entries.start[start], entries.start[start + 1] - entries.start[start])
            of.append(new_to[which])
            paper.append(
                np.searchsorted(new.papers.id, self.papers(edition_id).id).astype(np.int32)[entries.paper[place]]
            )
            places.append(entries.places[place])
        list_of, found, where = np.concatenate(of), np.concatenate(paper), np.concatenate(places)
        if new.newest > new.before + 1:
            order = np.lexsort((found, list_of))
            list_of, found, where = list_of[order], found[order], where[order]
        size = np.bincount(list_of, minlength=len(wanted))
        filled = size > 0
        start = np.concatenate((np.zeros(1, np.int64), np.cumsum(size[filled])))
        lists = Lists.of(start, found, where, new.papers.upvotes)
        return _Shelf(new.before, new.newest, wanted, np.where(filled, np.cumsum(filled), 0) - 1, lists)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Lists kept for a window: that of ``key[i]`` (last edition and query) is ``row[i]``. Keys ascend."""

    before: int
    newest: int
    key: Ints
    row: Ints
    lists: Lists

    @classmethod
    def empty(cls, new: Window) -> _Shelf:
        none = np.empty(0, np.int64)
        nothing = Lists.of(np.zeros(2, np.int64), none.astype(np.int32), none.astype(np.uint8), new.papers.upvotes)
        return cls(new.before, new.newest, none, none, nothing)

    def and_that(self, other: _Shelf) -> _Shelf:
        """``other`` calls an empty list -1."""
        key = np.concatenate((self.key, other.key))
        row = np.concatenate((self.row, np.where(other.row < 0, 0, other.row + len(self.lists))))
        order = np.argsort(key, kind="stable")
        return _Shelf(self.before, self.newest, key[order], row[order], self.lists.and_those(other.lists))

    def full(self) -> bool:
        return len(self.lists.paper) > _KEPT_MATCHES or self.lists.sets.size > _KEPT_WORDS


@dataclass(frozen=True, slots=True)
class Interests:
    """Of the readers of a chunk, by reader and query."""

    reader: Ints
    """Positions in the chunk, ascending."""
    query: Ints
    muted: NDArray[np.bool_]
    weight: Ints
    first: Ints
    """The interests of reader r are ``first[r] … first[r + 1]``; the place among them is the slot."""

    def weights(self, begin: int, end: int) -> rank.Weights | None:
        """Of the readers from ``begin`` to before ``end``, counted from the first."""
        here = slice(int(self.first[begin]), int(self.first[end]))
        reader = self.reader[here]
        slot = np.arange(here.start, here.stop) - self.first[reader]
        return rank.Weights.of(reader - begin, slot, self.weight[here])


@dataclass(frozen=True, slots=True)
class Window:
    """What is new to at least one reader of a chunk."""

    before: int
    """The edition before the first of the window."""
    newest: int
    papers: Papers
    """Of all editions in the window."""


def window(session: Session, due: Due, matches: Matches, now: datetime) -> Window:
    """The editions, no older than ``match.OLDEST``, that some reader of the chunk has not considered."""
    newest = session.scalar(select(func.max(Edition.id))) or 0
    oldest = session.scalar(select(func.min(Edition.id)).where(Edition.cut_at > now - match.OLDEST))
    return editions(matches, max(int(due.last_edition_id.min()), (oldest or newest + 1) - 1), newest)


def editions(matches: Matches, before: int, newest: int) -> Window:
    """The editions after ``before`` up to ``newest``."""
    every = [matches.papers(edition_id) for edition_id in range(before + 1, newest + 1)]
    none = np.empty(0, np.int64)
    ids = np.concatenate([none, *(papers.id for papers in every)])
    upvotes = np.concatenate([none, *(papers.upvotes for papers in every)])
    order = np.argsort(ids)
    return Window(before, newest, Papers(ids[order], upvotes[order]))


def interests(session: Session, due: Due) -> Interests:
    """The interests of a chunk's readers."""
    packed = bulk.numbers(_rows(session, _INTERESTS, due.id)[0][0])
    packed.sort(kind="stable")
    reader = packed >> (_QUERY_BITS + _SAID_BITS)
    first = np.searchsorted(reader, np.arange(len(due) + 1)).astype(np.int64)
    return Interests(
        reader=reader,
        query=(packed >> _SAID_BITS) & _QUERY_MASK,
        muted=(packed >> 2 & 1).astype(np.bool_),
        weight=(packed & 3) - 1,
        first=first,
    )


def blocks(
    due: Due, wants: Interests, matches: Matches, new: Window, whole: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, int, Shortlist]]:
    """What may be chosen for each reader from the editions they have not considered, a block of readers at a time.

    A block is its first reader, the reader after its last, and their shortlist; its readers are counted from the first.
    ``whole`` marks readers for whom nothing is to be left off.
    """
    last = np.maximum(due.last_edition_id, new.before)[wants.reader]
    lists, row = matches.lists(new, last, wants.query)
    slot = np.arange(len(wants.reader)) - wants.first[wants.reader]
    filled = np.flatnonzero(row)
    reader, slot, row, muted = wants.reader[filled], slot[filled], row[filled], wants.muted[filled]
    first = np.searchsorted(reader, np.arange(len(due) + 1))
    weight = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.diff(lists.start)[row] + lists.sets.shape[1])))
    total = weight[first]
    edges = [0]
    while edges[-1] < len(due):
        following = int(np.searchsorted(total, total[edges[-1]] + _BLOCK, side="right")) - 1
        edges.append(min(max(following, edges[-1] + 1), len(due)))
    for begin, end in pairwise(edges):
        here = slice(int(first[begin]), int(first[end]))
        limits = due.paper_limit[begin:end]
        everything = None if whole is None else whole[begin:end]
        yield (
            begin,
            end,
            shortlist(lists, reader[here] - begin, slot[here], row[here], muted[here], limits, everything),
        )


def _among(values: Ints, ordered: Ints) -> NDArray[np.bool_]:
    """For each of the values whether it is one of those, which ascend."""
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    among: NDArray[np.bool_] = ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values
    return among


def _rows(session: Session, statement: str, value: Any) -> list[tuple[Any, ...]]:
    with bulk.cursor(session) as cursor:
        return cursor.execute(statement, (value,)).fetchall()
