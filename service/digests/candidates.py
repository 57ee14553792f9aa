"""What each due reader could get: interests joined with the matches of the editions they have not considered.

In arrays from end to end: an edition's matches are fetched once per run, the interests of a chunk in one statement, and
the join is a repetition of positions, so that memory is bounded by the chunk and the editions that are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database import Database
from service.database.engine import raw
from service.database.tables import Edition, Match
from service.matching import match, rank

Ints = NDArray[np.int64]

_INTERESTS: Final = "SELECT reader_id, query_id, muted::int FROM interest WHERE reader_id = ANY(%s)"
"""Reads uq_interest_reader_id_query_id."""


@dataclass(frozen=True, slots=True)
class Due:
    """A reader to be planned now."""

    id: int
    slot: datetime
    next_digest_at: datetime
    paper_limit: int
    last_edition_id: int


def of(
    session: Session, due: Sequence[Due], matches: Matches, now: datetime, newest: int
) -> tuple[rank.Candidates, int]:
    """Each (reader, interest, paper) in editions the reader has not considered; and the edition before them."""
    oldest = session.scalar(select(func.min(Edition.id)).where(Edition.cut_at > now - match.OLDEST))
    window = max(min(reader.last_edition_id for reader in due), (oldest or newest + 1) - 1)
    # Past the mapper: a row of three numbers for every interest of the chunk.
    found = raw(session).execute(_INTERESTS, ([reader.id for reader in due],)).fetchall()
    columns = np.array(found, np.int64).reshape(-1, 3)
    reader, query, muted = _positions(due)(columns[:, 0]), columns[:, 1], columns[:, 2].astype(np.bool_)
    last_considered = np.array([each.last_edition_id for each in due], np.int64)
    parts = []
    for edition_id in range(window + 1, newest + 1):
        wants = last_considered[reader] < edition_id
        if wants.any():
            entries = matches.of(edition_id, np.unique(query[wants]))
            parts.append(_expanded(reader[wants], query[wants], muted[wants], entries))
    return _concatenated(parts), window


def _positions(due: Sequence[Due]) -> Callable[[Ints], Ints]:
    """From readers' ids to their positions in ``due``."""
    ids = np.array([reader.id for reader in due], np.int64)
    order = np.argsort(ids)
    ordered = ids[order]
    return lambda wanted: order[np.searchsorted(ordered, wanted)]


@dataclass(frozen=True, slots=True)
class _Entries:
    """The matches of one edition: ``paper[start[i]:start[i + 1]]`` belong to ``query[i]``, queries ascending."""

    query: Ints
    start: Ints
    paper: Ints
    score: NDArray[np.float32]


@dataclass(slots=True)
class Matches:
    """Match rows as arrays, each edition fetched once per run; what is lacking is computed on the way."""

    database: Database
    _editions: dict[int, _Entries] = field(default_factory=dict)

    def of(self, edition_id: int, query_ids: Ints) -> _Entries:
        """The matches of an edition, among them those of ``query_ids``: also of a query followed a moment ago."""
        entries = self._editions.get(edition_id)
        if entries is None:
            entries = self._editions[edition_id] = self._fetch(edition_id)
        lacking = np.setdiff1d(query_ids, entries.query)
        if len(lacking):
            match.fill(self.database, edition_id, lacking.tolist())
            entries = self._editions[edition_id] = self._fetch(edition_id)
        return entries

    def _fetch(self, edition_id: int) -> _Entries:
        statement = (
            select(Match.query_id, Match.paper_ids, Match.scores)
            .where(Match.edition_id == edition_id)
            .order_by(Match.query_id)
        )
        with self.database.transaction() as session:
            found = session.execute(statement).all()
        lengths = np.fromiter((len(papers) for _, papers, _ in found), np.int64, len(found))
        total = int(lengths.sum())
        return _Entries(
            query=np.fromiter((query_id for query_id, _, _ in found), np.int64, len(found)),
            start=np.concatenate(([0], np.cumsum(lengths))),
            paper=np.fromiter((paper for _, papers, _ in found for paper in papers), np.int64, total),
            score=np.fromiter((score for _, _, scores in found for score in scores), np.float32, total),
        )


def _expanded(reader: Ints, query: Ints, muted: NDArray[np.bool_], entries: _Entries) -> rank.Candidates:
    """The join of interests with the matches of one edition."""
    row = np.searchsorted(entries.query, query)
    start = entries.start[row]
    count = entries.start[row + 1] - start
    # The positions start[i], start[i] + 1, … of every interest, one after the other.
    before = np.cumsum(count) - count
    place = np.arange(int(count.sum())) + np.repeat(start - before, count)
    return rank.Candidates(
        reader=np.repeat(reader, count),
        paper=entries.paper[place],
        query=np.repeat(query, count),
        score=entries.score[place],
        muted=np.repeat(muted, count),
    )


def _concatenated(parts: Sequence[rank.Candidates]) -> rank.Candidates:
    def joined(arrays: Iterable[NDArray[np.generic]], kind: type) -> NDArray[np.generic]:
        return np.concatenate([np.empty(0, kind), *arrays])

    return rank.Candidates(
        reader=joined((part.reader for part in parts), np.int64).astype(np.int64),
        paper=joined((part.paper for part in parts), np.int64).astype(np.int64),
        query=joined((part.query for part in parts), np.int64).astype(np.int64),
        score=joined((part.score for part in parts), np.float32).astype(np.float32),
        muted=joined((part.muted for part in parts), np.bool_).astype(np.bool_),
    )
