"""A few papers that everybody talks about, for readers who want them: apart from what they asked for.

A paper is talked about if Hugging Face Daily Papers listed it within the last days, or if it is new to the reader and
has many upvotes. Nobody is shown one that an interest of theirs mutes, that this digest or an earlier one brought them,
or that was new to them before and has not become featured since. A digest with nothing that matched is not made for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.database import bulk
from service.database.bulk import Ragged
from service.database.tables import Edition, Paper
from service.digests.candidates import Due, Interests, Ints, Matches, Window
from service.matching import match, rank
from service.matching.shortlist import Shortlist

MOST: Final = 3
"""In one digest."""
FEATURED_FOR: Final = timedelta(days=2)
UPVOTES: Final = 10
"""From here on a paper that is not featured is talked about too."""
_POOL: Final = 40
_SENT: Final = """
    SELECT array_send(array_agg(reader_id)), array_send(array_agg(brought.paper_id))
    FROM digest CROSS JOIN LATERAL unnest(paper_ids || trending_ids) AS brought (paper_id)
    WHERE reader_id = ANY(%s::bigint[]) AND slot > %s AND (paper_ids || trending_ids) && %s::bigint[]
        AND brought.paper_id = ANY(%s::bigint[])
"""
"""Reads the unique index of (reader, slot) of each month."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The papers talked about: parallel arrays, the most upvotes first."""

    id: Ints
    edition: Ints
    featured: NDArray[np.bool_]
    since: datetime
    """Nothing that was brought before this moment is in the pool."""

    def __len__(self) -> int:
        return len(self.id)


def pool(session: Session, new: Window, now: datetime) -> Pool:
    """What is talked about. Reads ix_paper_edition_id."""
    oldest = select(func.min(Edition.id)).where(Edition.cut_at > now - match.OLDEST).scalar_subquery()
    featured = func.coalesce(Paper.featured_on >= (now - FEATURED_FOR).date(), False)
    talked_about = or_(featured, (Paper.upvotes >= UPVOTES) & (Paper.edition_id > new.before))
    statement = (
        select(Paper.id, Paper.edition_id, featured)
        .where(Paper.edition_id >= oldest, Paper.edition_id <= new.newest, talked_about, ~Paper.withdrawn)
        .order_by(func.coalesce(Paper.upvotes, 0).desc(), Paper.id)
        .limit(_POOL)
    )
    found = session.execute(statement).all()
    return Pool(
        np.array([row[0] for row in found], np.int64),
        np.array([row[1] for row in found], np.int64),
        np.array([row[2] for row in found], np.bool_),
        now - match.OLDEST,
    )


def unwanted(pool: Pool, found: Shortlist, chosen: rank.Chosen, new: Window) -> NDArray[np.bool_]:
    """Reader × pool: what this digest brings already, or an interest mutes. Readers of one block."""
    table = np.zeros((len(chosen.matched), len(pool)), np.bool_)
    at = np.searchsorted(new.papers.id, pool.id)
    there = np.flatnonzero(at < len(new.papers.id))
    there = there[new.papers.id[at[there]] == pool.id[there]]
    if not len(there):
        return table
    table[:, there] = found.mutes(at[there])
    column = np.full(len(new.papers.id), -1, np.int64)
    column[at[there]] = there
    reader = np.repeat(np.arange(len(chosen.matched)), np.diff(chosen.start))
    hit = column[chosen.paper] >= 0
    table[reader[hit], column[chosen.paper[hit]]] = True
    return table


def choose(
    session: Session, pool: Pool, unwanted: NDArray[np.bool_], due: Due, wants: Interests, matches: Matches
) -> Ragged:
    """For each reader the first few of the pool that may be shown to them."""
    new_to_them = pool.edition[None, :] > due.last_edition_id[:, None]
    wanted = due.trending[:, None] & ~unwanted & (new_to_them | pool.featured[None, :])
    again = wanted & ~new_to_them
    if again.any():
        wanted &= ~(again & (_sent(session, pool, due) | _muted(pool, due, wants, matches)))
    wanted &= np.cumsum(wanted, axis=1) <= MOST
    reader, column = np.nonzero(wanted)
    return Ragged(np.searchsorted(reader, np.arange(len(due) + 1)).astype(np.int64), pool.id[column])


def _sent(session: Session, pool: Pool, due: Due) -> NDArray[np.bool_]:
    """Reader × pool: what an earlier digest brought."""
    table = np.zeros((len(due), len(pool)), np.bool_)
    with bulk.cursor(session) as cursor:
        row = cursor.execute(_SENT, (due.id, pool.since, pool.id, pool.id)).fetchall()[0]
    who, papers = map(bulk.numbers, row)
    by_id, by_paper = np.argsort(due.id), np.argsort(pool.id)
    reader = by_id[np.searchsorted(due.id[by_id], who)]
    table[reader, by_paper[np.searchsorted(pool.id[by_paper], papers)]] = True
    return table


def _muted(pool: Pool, due: Due, wants: Interests, matches: Matches) -> NDArray[np.bool_]:
    """Reader × pool: what an interest mutes, in editions that were considered before."""
    table = np.zeros((len(due), len(pool)), np.bool_)
    mutes = np.flatnonzero(wants.muted)
    if not len(mutes):
        return table
    for edition_id in np.unique(pool.edition).tolist():
        entries = matches.of(edition_id, np.unique(wants.query[mutes]))
        papers = matches.papers(edition_id).id
        for column in np.flatnonzero(pool.edition == edition_id).tolist():
            hits = np.flatnonzero(papers[entries.paper] == pool.id[column])
            queries = entries.query[np.searchsorted(entries.start, hits, side="right") - 1]
            table[wants.reader[mutes[np.isin(wants.query[mutes], queries)]], column] = True
    return table
