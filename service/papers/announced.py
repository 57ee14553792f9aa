"""When papers arrived and changed: for feeds and sitemaps, in the order of arrival."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import Edition, Paper
from service.papers.archive import PaperView, view


@dataclass(frozen=True, slots=True)
class Dated:
    """A paper with the times of its row."""

    paper: PaperView
    first_seen_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EditionView:
    """An edition in a list."""

    id: int
    cut_at: datetime
    paper_count: int


def by_ids(session: Session, ids: Iterable[int]) -> list[Dated]:
    """The papers of these ids in the order of the ids; those that do not exist are left out."""
    wanted = list(ids)
    found = {each.id: _dated(each) for each in session.scalars(select(Paper).where(Paper.id.in_(wanted)))}
    return [found[each] for each in wanted if each in found]


def newest(session: Session, limit: int) -> list[Dated]:
    """The papers listed last, the last first. Reads ix_paper_listed_on from its end."""
    statement = select(Paper).order_by(Paper.listed_on.desc(), Paper.id.desc()).limit(limit)
    return [_dated(paper) for paper in session.scalars(statement)]


def after(
    session: Session, paper_id: int, limit: int, *, day: date | None = None, edition: int | None = None
) -> list[Dated]:
    """Up to ``limit`` papers with larger ids, in their order; of one day or edition if named."""
    statement = select(Paper).where(Paper.id > paper_id).order_by(Paper.id).limit(limit)
    if day is not None:
        statement = statement.where(Paper.listed_on == day)
    if edition is not None:
        statement = statement.where(Paper.edition_id == edition)
    return [_dated(paper) for paper in session.scalars(statement)]


def editions(session: Session, before: int | None, limit: int) -> list[EditionView]:
    """Editions, the newest first; ``before`` leaves out that one and later ones."""
    statement = select(Edition).order_by(Edition.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Edition.id < before)
    return [EditionView(each.id, each.cut_at, each.paper_count) for each in session.scalars(statement)]


def edition(session: Session, edition_id: int) -> EditionView | None:
    """The edition of this number; None where it was never cut."""
    found = session.get(Edition, edition_id)
    return EditionView(found.id, found.cut_at, found.paper_count) if found else None


def largest_id(session: Session) -> int:
    """The largest id that a paper has; 0 where there is none."""
    return session.scalars(select(func.coalesce(func.max(Paper.id), 0))).one()


def changes(session: Session, first_id: int, last_id: int) -> Iterator[tuple[int, datetime]]:
    """Ids of a range with when each paper changed, streamed."""
    statement = select(Paper.id, Paper.updated_at).where(Paper.id.between(first_id, last_id)).order_by(Paper.id)
    for row in session.execute(statement.execution_options(yield_per=5_000)):
        yield row.id, row.updated_at


def _dated(paper: Paper) -> Dated:
    return Dated(view(paper), paper.first_seen_at, paper.updated_at)
