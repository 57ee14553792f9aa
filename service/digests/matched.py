"""Everything that a reader's last digests matched: what they brought and what was over the limit, each paper once."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import Digest, Interest, Match

MOST_DIGESTS: Final = 60
MOST_PAPERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class MatchedPaper:
    """A paper that a digest brought, or had no room for."""

    paper_id: int
    slot: datetime
    """Of the digest that it belongs to: the newest."""
    reasons: tuple[str, ...]
    """The interests of today that matched it, as the reader calls them."""


def lately(session: Session, reader_id: int) -> list[MatchedPaper]:
    """The newest digest first; of one, first what it brought, in its order, then the rest, the newest first.

    What an interest mutes today is left out, unless it was brought. Reads the unique index of (reader, slot) of each
    month and the primary key of ``match``.
    """
    statement = (
        select(
            Digest.slot,
            Digest.first_edition_id,
            Digest.last_edition_id,
            Digest.paper_ids,
            Digest.reason_papers,
            Digest.reason_queries,
        )
        .where(Digest.reader_id == reader_id)
        .order_by(Digest.slot.desc())
        .limit(MOST_DIGESTS)
    )
    digests = session.execute(statement).all()
    interests = session.execute(
        select(Interest.query_id, Interest.label, Interest.muted).where(Interest.reader_id == reader_id)
    ).all()
    labels = {query: label for query, label, muted in interests if not muted}
    muted = {query for query, _, is_muted in interests if is_muted}
    brought: dict[int, tuple[datetime, list[int]]] = {}
    for each in digests:
        reasons: dict[int, list[int]] = {}
        for place, query in zip(each.reason_papers, each.reason_queries, strict=True):
            reasons.setdefault(place, []).append(query)
        for place, paper in enumerate(each.paper_ids):
            brought.setdefault(paper, (each.slot, reasons.get(place, [])))
    rest: dict[int, tuple[datetime, list[int]]] = {}
    unwanted: set[int] = set()
    spans = sorted((each.last_edition_id, each.first_edition_id, each.slot) for each in digests)
    for edition, query, papers in _matches(session, spans, [*labels, *muted]):
        at = bisect_left(spans, (edition,))
        if at == len(spans) or edition < spans[at][1]:
            continue
        if query in muted:
            unwanted.update(papers)
            continue
        for paper in papers:
            rest.setdefault(paper, (spans[at][2], []))[1].append(query)
    found = [(slot, 0, place, paper, by) for place, (paper, (slot, by)) in enumerate(brought.items())]
    found += [
        (slot, 1, -paper, paper, by)
        for paper, (slot, by) in rest.items()
        if paper not in brought and paper not in unwanted
    ]
    found.sort(key=lambda each: (-each[0].timestamp(), each[1], each[2]))
    return [
        MatchedPaper(paper, slot, tuple(dict.fromkeys(labels[query] for query in by if query in labels)))
        for slot, _, _, paper, by in found[:MOST_PAPERS]
    ]


def _matches(
    session: Session, spans: list[tuple[int, int, datetime]], queries: list[int]
) -> list[tuple[int, int, list[int]]]:
    if not spans or not queries:
        return []
    statement = select(Match.edition_id, Match.query_id, Match.paper_ids).where(
        Match.edition_id.between(min(first for _, first, _ in spans), spans[-1][0]),
        Match.query_id == func.any(sorted(queries)),
        func.cardinality(Match.paper_ids) > 0,
    )
    return [(row.edition_id, row.query_id, row.paper_ids) for row in session.execute(statement)]
