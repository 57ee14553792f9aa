"""Query × paper, computed once per edition and kept as rows of arrays (decision 005)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, cast

import structlog
from sqlalchemy import func, select, text, union
from sqlalchemy.orm import Session

from service.database import Database
from service.database.arrays import integers
from service.database.engine import raw
from service.database.tables import Edition, Interest, Match, Paper, Reader, ReaderState, Topic
from service.matching import expression, stock
from service.matching.edition import MOST_COST, EditionIndex, cost
from service.matching.expression import Expression

log = structlog.get_logger(__name__)

OLDEST: Final = timedelta(days=14)
"""Editions cut longer ago are not matched any more and reach no digest: a reader who was away gets two weeks."""
_BATCH: Final = 20_000
_TEXTS: Final = "SELECT id, canonical FROM query WHERE id = ANY(%s) ORDER BY id"


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What one run wrote."""

    editions: int
    queries: int
    """Rows written: pairs of query and edition."""
    matches: int
    """Papers in those rows."""


def match_pending(
    database: Database, *, now: datetime | None = None, on_progress: Callable[[int], None] | None = None
) -> MatchReport:
    """Write every match row that is lacking: editions that an active reader has not considered × queries in use.

    May run twice or in parallel: a row is written by whoever comes first. A crash leaves whole rows or none.
    """
    with database.transaction() as session:
        editions = editions_to_come(session, now or datetime.now(UTC))
    done = written = found = 0
    for edition_id in editions:
        with database.transaction() as session:
            lacking = _lacking(session, edition_id)
        if not lacking:
            continue
        rows, papers = fill(database, edition_id, lacking)
        done, written, found = done + 1, written + rows, found + papers
        if on_progress is not None:
            on_progress(written)
    return MatchReport(done, written, found)


def editions_to_come(session: Session, now: datetime) -> list[int]:
    """Editions, oldest first, that some active reader has yet to consider."""
    farthest_behind = select(func.min(Reader.last_edition_id)).where(Reader.state == ReaderState.ACTIVE)
    statement = select(Edition.id).where(Edition.id > farthest_behind.scalar_subquery(), Edition.cut_at > now - OLDEST)
    return list(session.scalars(statement.order_by(Edition.id)))


def fill(database: Database, edition_id: int, query_ids: Iterable[int]) -> tuple[int, int]:
    """Match these queries over this edition and write their rows; return how many rows and papers."""
    wanted = sorted(set(query_ids))
    with database.transaction() as session:
        index = EditionIndex(stock.papers(session, Paper.edition_id == edition_id))
    rows = papers = 0
    for start in range(0, len(wanted), _BATCH):
        with database.transaction() as session:
            batch = wanted[start : start + _BATCH]
            # Past the mapper: a hundred thousand rows of two columns.
            texts = cast("list[tuple[int, str]]", raw(session).execute(_TEXTS, (batch,)).fetchall())
            papers += _write(session, edition_id, index, texts)
            rows += len(texts)
    return rows, papers


def _lacking(session: Session, edition_id: int) -> list[int]:
    """Queries in use that have no row for this edition: an anti-join on the primary key of ``match``."""
    followed = (
        select(Interest.query_id)
        .join(Reader, Reader.id == Interest.reader_id)
        .where(Reader.state != ReaderState.UNSUBSCRIBED)
    )
    in_use = union(followed, select(Topic.query_id)).subquery()
    matched = select(Match.query_id).where(Match.edition_id == edition_id, Match.query_id == in_use.c.query_id)
    return list(session.scalars(select(in_use.c.query_id).where(~matched.exists())))


def _write(session: Session, edition_id: int, index: EditionIndex, queries: Sequence[tuple[int, str]]) -> int:
    """COPY into a temporary table, then insert what nobody else has written meanwhile."""
    found = index.search_all([_recalled(query_id, canonical) for query_id, canonical in queries])
    start, paper_ids, places = found.start.tolist(), found.paper_ids.tolist(), found.places.tolist()
    lines = [
        f"{edition_id}\t{query_id}\t{integers(paper_ids[first:last])}\t{integers(places[first:last])}\n"
        for (query_id, _), (first, last) in zip(queries, pairwise(start), strict=True)
    ]
    session.execute(text("CREATE TEMPORARY TABLE matched (LIKE match) ON COMMIT DROP"))
    with (
        raw(session).cursor() as cursor,
        cursor.copy("COPY matched (edition_id, query_id, paper_ids, places) FROM STDIN") as copy,
    ):
        copy.write("".join(lines))
    # In one order everywhere, so that two matchers with the same queries cannot wait for each other.
    session.execute(
        text("""
            INSERT INTO match (edition_id, query_id, paper_ids, places)
            SELECT edition_id, query_id, paper_ids, places FROM matched ORDER BY query_id ON CONFLICT DO NOTHING
        """)
    )
    return len(paper_ids)


def _recalled(query_id: int, canonical: str) -> Expression | None:
    """None where the text is none of ours, or asks for more than any query may: it must not hold up all others."""
    try:
        understood = expression.recall(canonical)
    except ValueError as error:
        log.error("match.unreadable_query", query=query_id, error=str(error))
        return None
    dearness = cost(understood)
    if dearness > MOST_COST:
        log.error("match.query_too_dear", query=query_id, cost=dearness, most=MOST_COST)
        return None
    return understood
