"""Papers as the index wants them, from the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from service.database.tables import Paper, Sighting
from service.matching.index import IndexedPaper

_BATCH = 2_000


def papers(session: Session, *where: ColumnElement[bool]) -> Iterator[IndexedPaper]:
    """The papers that meet the conditions, streamed."""
    sources = (
        select(func.array_agg(Sighting.source))
        .where(Sighting.paper_id == Paper.id)
        .correlate(Paper)
        .scalar_subquery()
        .label("sources")
    )
    columns = (
        Paper.id,
        Paper.title,
        Paper.abstract,
        Paper.keywords,
        Paper.authors,
        Paper.organization,
        Paper.categories,
        Paper.listed_on,
    )
    statement = select(*columns, sources).where(*where).order_by(Paper.id).execution_options(yield_per=_BATCH)
    for row in session.execute(statement):
        yield IndexedPaper(
            id=row.id,
            title=row.title,
            abstract=row.abstract,
            keywords=_texts(row.keywords),
            authors=_texts(row.authors),
            organization=row.organization,
            categories=_texts(row.categories),
            sources=_texts(row.sources),
            listed_on=row.listed_on,
        )


def _texts(values: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(values or ())
