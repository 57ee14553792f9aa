"""Papers of several days, of an edition, and the ones everybody talks about: for pages and feeds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from service.database.tables import Edition, Paper
from service.papers.archive import PaperView, view

TRENDING_DAYS: Final = 7
MOST_TRENDING: Final = 50
_MOST_NAMES: Final = 5_000
_NAMED_DAYS: Final = 120


def of_days(session: Session, first: date, last: date, *, limit: int, offset: int = 0) -> list[PaperView]:
    """The papers listed from one day to another, both with it: featured ones first, then by upvotes, the newest first.

    Reads ix_paper_listed_on.
    """
    statement = (
        select(Paper)
        .where(Paper.listed_on.between(first, last))
        .order_by(
            Paper.featured_on.is_(None),
            func.coalesce(Paper.upvotes, 0).desc(),
            Paper.listed_on.desc(),
            Paper.id,
        )
    )
    return [view(paper) for paper in session.scalars(statement.limit(limit).offset(offset))]


def count_of_days(session: Session, first: date, last: date) -> int:
    """How many papers these days listed, both ends included."""
    return session.scalars(select(func.count()).where(Paper.listed_on.between(first, last))).one()


def day_before(session: Session, day: date) -> date | None:
    """The last day before it that has papers."""
    return session.scalar(select(func.max(Paper.listed_on)).where(Paper.listed_on < day))


def newest_day(session: Session) -> date | None:
    """The last day that has papers."""
    return session.scalar(select(func.max(Paper.listed_on)))


def trending(session: Session, *, limit: int = MOST_TRENDING) -> list[PaperView]:
    """What is read most of the last seven days that have papers: most upvotes first.

    Listed in these days or featured since; a paper that nobody has voted for is not among them unless it is featured.
    """
    newest = newest_day(session)
    if newest is None:
        return []
    since = newest - timedelta(days=TRENDING_DAYS - 1)
    # The second reads ix_paper_featured_at, which holds few papers.
    recent: ColumnElement[bool] = or_(
        Paper.listed_on >= since, (Paper.featured_at.is_not(None)) & (Paper.featured_on >= since)
    )
    statement = (
        select(Paper)
        .where(recent, or_(Paper.upvotes > 0, Paper.featured_on.is_not(None)), ~Paper.withdrawn)
        .order_by(func.coalesce(Paper.upvotes, 0).desc(), Paper.listed_on.desc(), Paper.id)
        .limit(limit)
    )
    return [view(paper) for paper in session.scalars(statement)]


def of_edition(session: Session, edition_id: int, *, limit: int, offset: int = 0) -> list[PaperView]:
    """The papers of an edition, as :func:`of_days` orders them. Reads ix_paper_edition_id."""
    statement = (
        select(Paper)
        .where(Paper.edition_id == edition_id)
        .order_by(Paper.featured_on.is_(None), func.coalesce(Paper.upvotes, 0).desc(), Paper.id)
    )
    return [view(paper) for paper in session.scalars(statement.limit(limit).offset(offset))]


def newest_edition(session: Session) -> int | None:
    """The number of the edition that was cut last; None before the first."""
    return session.scalar(select(func.max(Edition.id)))


def authors(session: Session, *, limit: int = _MOST_NAMES) -> list[str]:
    """The names that stand on several papers of the last months, those on most of them first: for the sitemap."""
    newest = newest_day(session)
    if newest is None:
        return []
    named = (
        select(func.unnest(Paper.authors).label("name"))
        .where(Paper.listed_on > newest - timedelta(days=_NAMED_DAYS))
        .subquery()
    )
    counted = select(named.c.name).group_by(named.c.name).having(func.count() > 1)
    return list(session.scalars(counted.order_by(func.count().desc(), named.c.name).limit(limit)))


def organizations(session: Session, *, limit: int = _MOST_NAMES) -> list[str]:
    """The organizations of the last months' papers, those of most papers first: for the sitemap."""
    newest = newest_day(session)
    if newest is None:
        return []
    statement = (
        select(Paper.organization)
        .where(Paper.listed_on > newest - timedelta(days=_NAMED_DAYS), Paper.organization.is_not(None))
        .group_by(Paper.organization)
        .order_by(func.count().desc(), Paper.organization)
        .limit(limit)
    )
    return [name for name in session.scalars(statement) if name]
