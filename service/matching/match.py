"""Query × paper, computed once per edition and kept as rows of arrays (decision 005)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service import tracing
from service.database import Database, bulk
from service.database.bulk import Ints, Ragged
from service.database.engine import raw
from service.database.tables import Edition, Paper, Reader, ReaderState
from service.matching import expression, stock
from service.matching.edition import MOST_COST, PREFIX_COST, EditionIndex, Matched, cost
from service.matching.expression import Expression

log = structlog.get_logger(__name__)

OLDEST: Final = timedelta(days=14)
"""Editions cut longer ago are not matched any more and reach no digest: a reader who was away gets two weeks."""
_BATCH: Final = 20_000
_TEXTS: Final = "SELECT id, canonical FROM query WHERE id = ANY(%s) ORDER BY id"
_LACKING: Final = text("""
    WITH lacking AS MATERIALIZED (
        SELECT id FROM query WHERE NOT EXISTS (SELECT FROM match WHERE edition_id = :edition AND query_id = query.id)
    )
    SELECT id FROM lacking
    WHERE EXISTS (SELECT FROM topic WHERE topic.query_id = lacking.id)
        OR EXISTS (
            SELECT FROM interest JOIN reader ON reader.id = interest.reader_id
            WHERE interest.query_id = lacking.id AND reader.state <> 'unsubscribed'
        )
""")
"""Reads pk_match; then, of the few that are lacking, ix_interest_query_id until one follower is found. Left to itself
PostgreSQL looks for the followers of every query first."""
_CLAIM: Final = "SELECT FROM edition WHERE id = %s FOR NO KEY UPDATE"
_THERE: Final = "SELECT array_send(array_agg(query_id)) FROM match WHERE edition_id = %s AND query_id = ANY(%s)"
_ROWS: Final = "COPY match (edition_id, query_id, paper_ids, places) FROM STDIN (FORMAT binary)"


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
    about = {"paperround.edition": edition_id, "paperround.queries": len(wanted)}
    with tracing.span("match edition", about) as span:
        rows, papers = _filled(database, edition_id, wanted)
        span.tell({"paperround.matches": papers})
    return rows, papers


def _filled(database: Database, edition_id: int, wanted: Sequence[int]) -> tuple[int, int]:
    with database.transaction() as session:
        index = EditionIndex(stock.papers(session, Paper.edition_id == edition_id))
    rows = papers = 0
    # While one batch is written the next is matched.
    with ThreadPoolExecutor(1, thread_name_prefix="match") as writer:
        writing: list[Future[tuple[int, int]]] = []
        for start in range(0, len(wanted), _BATCH):
            ids = np.array(wanted[start : start + _BATCH], np.int64)
            with database.transaction() as session, bulk.cursor(session) as cursor:
                # Past the mapper: a hundred thousand rows of two columns.
                texts = cast("list[tuple[int, str]]", cursor.execute(_TEXTS, (ids,)).fetchall())
            found = index.search_all([_recalled(query_id, canonical) for query_id, canonical in texts])
            queries = np.array([query_id for query_id, _ in texts], np.int64)
            for earlier in writing:
                earlier.result()
            writing.append(writer.submit(copy_context().run, _write, database, edition_id, queries, found))
        for each in writing:
            rows, papers = rows + each.result()[0], papers + each.result()[1]
    return rows, papers


def _lacking(session: Session, edition_id: int) -> list[int]:
    """Queries in use that have no row for this edition."""
    return list(session.scalars(_LACKING, {"edition": edition_id}))


def _write(database: Database, edition_id: int, queries: Ints, found: Matched) -> tuple[int, int]:
    """COPY the rows that nobody has written meanwhile; return how many rows and papers.

    The edition is locked first, so that of several matchers one writes at a time and knows what is there.
    """
    with database.transaction() as session:
        with bulk.cursor(session) as cursor:
            cursor.execute(_CLAIM, (edition_id,))
            there = bulk.numbers(cursor.execute(_THERE, (edition_id, queries)).fetchall()[0][0])
        start, paper_ids, places = found.start, found.paper_ids, found.places
        if len(there):
            lacking = ~np.isin(queries, there)
            kept = np.repeat(lacking, np.diff(start))
            queries, paper_ids, places = queries[lacking], paper_ids[kept], places[kept]
            start = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.diff(start)[lacking])))
        if len(queries):
            columns: list[NDArray[Any] | Ragged] = [
                np.full(len(queries), edition_id, ">i4"),
                queries.astype(">i8"),
                Ragged(start, paper_ids),
                Ragged(start, places, ">i2"),
            ]
            bulk.copy(raw(session), _ROWS, bulk.ragged(columns))
    return len(queries), len(paper_ids)


def _recalled(query_id: int, canonical: str) -> Expression | None:
    """None where the text is none of ours, or asks for more than any query may: it must not hold up all others."""
    try:
        understood = expression.recall(canonical)
    except ValueError as error:
        log.error("match.unreadable_query", query=query_id, error=str(error))
        return None
    # No query costs more than its letters and its beginnings of words: of most no more need be known.
    if len(canonical) + PREFIX_COST * canonical.count("*") <= MOST_COST:
        return understood
    dearness = cost(understood)
    if dearness > MOST_COST:
        log.error("match.query_too_dear", query=query_id, cost=dearness, most=MOST_COST)
        return None
    return understood
