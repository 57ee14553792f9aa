"""What each due reader could get: interests joined with the matches of the editions they have not considered.

In arrays from end to end: an edition's matches are fetched once per run, the interests of a chunk in one statement, and
the join is a repetition of positions. A chunk is joined and ranked a block of readers at a time, so that memory is
bounded by the editions that are new and by the block, however much its readers' interests match.
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
from service.database.engine import raw
from service.database.tables import Edition
from service.matching import match, rank

Ints = NDArray[np.int64]

_BLOCK: Final = 100_000
"""Matches joined at a time. The arrays of so many stay in a processor's cache: 1.7 times faster than two million."""
_INTERESTS: Final = """
    SELECT array_send(array_agg(reader_id)), array_send(array_agg(query_id)), array_send(array_agg(muted::int)),
        array_send(array_agg(weight))
    FROM interest WHERE reader_id = ANY(%s::bigint[])
"""
"""Reads uq_interest_reader_id_query_id."""
_MATCHES: Final = """
    SELECT query_id, array_send(paper_ids), array_send(places) FROM match WHERE edition_id = %s ORDER BY query_id
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
        lacking = np.setdiff1d(query_ids, entries.query)
        if len(lacking):
            match.fill(self.database, edition_id, lacking.tolist())
            entries = self._entries[edition_id] = self._fetch(edition_id)
        return entries

    def _fetch(self, edition_id: int) -> Entries:
        with self.database.transaction() as session:
            rows = _rows(session, _MATCHES, edition_id)
        papers = [bulk.numbers(sent) for _, sent, _ in rows]
        places = [bulk.numbers(sent) for _, _, sent in rows]
        none = np.empty(0, np.int64)
        return Entries(
            query=np.array([query_id for query_id, _, _ in rows], np.int64),
            start=np.concatenate(([0], np.cumsum([len(each) for each in papers], dtype=np.int64))),
            paper=np.searchsorted(self.papers(edition_id).id, np.concatenate([none, *papers])).astype(np.int32),
            places=np.concatenate([none, *places]).astype(np.uint8),
        )


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
    reader_ids, queries, muted, weight = map(bulk.numbers, _rows(session, _INTERESTS, due.id.tolist())[0])
    by_id = np.argsort(due.id)
    reader = by_id[np.searchsorted(due.id[by_id], reader_ids)]
    order = np.lexsort((queries, reader))
    reader = reader[order]
    first = np.searchsorted(reader, np.arange(len(due) + 1)).astype(np.int64)
    return Interests(reader, queries[order], muted[order].astype(np.bool_), weight[order], first)


def blocks(due: Due, wants: Interests, matches: Matches, new: Window) -> Iterator[tuple[int, int, rank.Candidates]]:
    """Each (reader, interest, paper) in editions the reader has not considered, a block of readers at a time.

    A block is its first reader, the reader after its last, and what they could get; positions of readers count from the
    block's first.
    """
    slot = np.arange(len(wants.reader)) - wants.first[wants.reader]
    joins = []
    weight = np.zeros(len(due) + 1, np.int64)
    for edition_id in range(new.before + 1, new.newest + 1):
        interest = np.flatnonzero(due.last_edition_id[wants.reader] < edition_id)
        if len(interest):
            entries = matches.of(edition_id, np.unique(wants.query[interest]))
            row = np.searchsorted(entries.query, wants.query[interest])
            start = entries.start[row]
            count = entries.start[row + 1] - start
            weight[1:] += np.bincount(wants.reader[interest], weights=count, minlength=len(due)).astype(np.int64)
            whole = np.searchsorted(new.papers.id, matches.papers(edition_id).id)
            joins.append((interest, start, count, entries, whole))
    total = np.cumsum(weight)
    edges = [0]
    while edges[-1] < len(due):
        following = int(np.searchsorted(total, total[edges[-1]] + _BLOCK, side="right")) - 1
        edges.append(min(max(following, edges[-1] + 1), len(due)))
    for begin, end in pairwise(edges):
        parts = []
        for interest, start, count, entries, whole in joins:
            here = slice(*np.searchsorted(wants.reader[interest], (begin, end)).tolist())
            which, starts, counts = interest[here], start[here], count[here]
            # The positions start[i], start[i] + 1, … of every interest, one after the other.
            before = np.cumsum(counts) - counts
            place = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
            parts.append(
                rank.Candidates(
                    reader=np.repeat(wants.reader[which] - begin, counts),
                    slot=np.repeat(slot[which], counts),
                    paper=whole[entries.paper[place]],
                    places=entries.places[place],
                    muted=np.repeat(wants.muted[which], counts),
                )
            )
        yield begin, end, rank.joined(parts)


def _rows(session: Session, statement: str, value: Any) -> list[tuple[Any, ...]]:
    with raw(session).cursor(binary=True) as cursor:
        return cursor.execute(statement, (value,)).fetchall()
