"""The read side of papers: for pages, mails and feeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import Paper, PaperIdentifier
from service.papers.record import Identifier

_NAMED: Final = 3
"""Authors named in a byline before "and N more"."""


@dataclass(frozen=True, slots=True)
class PaperView:
    """A paper as it stands."""

    id: int
    title: str
    abstract: str
    tldr: str | None
    authors: tuple[str, ...]
    author_count: int
    organization: str | None
    categories: tuple[str, ...]
    keywords: tuple[str, ...]
    published_on: date | None
    listed_on: date
    featured_on: date | None
    upvotes: int | None
    comments: int | None
    url: str | None
    pdf_url: str | None
    code_url: str | None
    project_url: str | None
    withdrawn: bool
    edition_id: int | None

    @property
    def dated(self) -> date:
        """The day to show: first published, else listed."""
        return self.published_on or self.listed_on

    @property
    def byline(self) -> str:
        """Who wrote it, in one line: names, else the organization, else how many they are; may be empty."""
        if self.authors:
            named, total = self.authors[:_NAMED], max(self.author_count, len(self.authors))
            if total <= _NAMED:
                return ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
            return f"{', '.join(named[:2])} and {total - 2} more"
        if self.organization:
            return self.organization
        if self.author_count:
            return f"{self.author_count} author{'s' if self.author_count != 1 else ''}"
        return ""


@dataclass(frozen=True, slots=True)
class DayCount:
    day: date
    papers: int


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, PaperView]:
    """The papers of these ids; those that do not exist are left out."""
    return {paper.id: view(paper) for paper in session.scalars(select(Paper).where(Paper.id.in_(list(ids))))}


def of_day(session: Session, day: date, limit: int = 1_000, offset: int = 0) -> list[PaperView]:
    """A day's papers: the featured first, by upvotes; then the rest as they came."""
    statement = (
        select(Paper)
        .where(Paper.listed_on == day)
        .order_by(Paper.featured_on.is_(None), func.coalesce(Paper.upvotes, 0).desc(), Paper.id)
        .limit(limit)
        .offset(offset)
    )
    return [view(paper) for paper in session.scalars(statement)]


def days(session: Session, limit: int = 30, before: date | None = None) -> list[DayCount]:
    """The newest days that have papers, with their numbers; ``before`` leaves out that day and later ones."""
    statement = select(Paper.listed_on, func.count()).group_by(Paper.listed_on).order_by(Paper.listed_on.desc())
    if before is not None:
        statement = statement.where(Paper.listed_on < before)
    return [DayCount(day, papers) for day, papers in session.execute(statement.limit(limit))]


def day_after(session: Session, day: date) -> date | None:
    """The next day that has papers."""
    return session.scalar(select(func.min(Paper.listed_on)).where(Paper.listed_on > day))


def count_of_day(session: Session, day: date) -> int:
    return session.scalars(select(func.count()).where(Paper.listed_on == day)).one()


def one(session: Session, paper_id: int) -> PaperView | None:
    paper = session.get(Paper, paper_id)
    return view(paper) if paper else None


def by_identifier(session: Session, scheme: str, value: str) -> PaperView | None:
    statement = (
        select(Paper)
        .join(PaperIdentifier, PaperIdentifier.paper_id == Paper.id)
        .where(PaperIdentifier.scheme == scheme, PaperIdentifier.value == value)
    )
    paper = session.scalar(statement)
    return view(paper) if paper else None


def identifiers(session: Session, paper_id: int) -> list[Identifier]:
    statement = select(PaperIdentifier).where(PaperIdentifier.paper_id == paper_id)
    return sorted(Identifier(each.scheme, each.value) for each in session.scalars(statement))


def view(paper: Paper) -> PaperView:
    """A row as a value that outlives its session."""
    return PaperView(
        id=paper.id,
        title=paper.title,
        abstract=paper.abstract,
        tldr=paper.tldr,
        authors=tuple(paper.authors),
        author_count=paper.author_count,
        organization=paper.organization,
        categories=tuple(paper.categories),
        keywords=tuple(paper.keywords),
        published_on=paper.published_on,
        listed_on=paper.listed_on,
        featured_on=paper.featured_on,
        upvotes=paper.upvotes,
        comments=paper.comments,
        url=paper.url,
        pdf_url=paper.pdf_url,
        code_url=paper.code_url,
        project_url=paper.project_url,
        withdrawn=paper.withdrawn,
        edition_id=paper.edition_id,
    )
