"""The read side of papers: for pages, mails and feeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from service.database.tables import Edition, Paper, PaperAlias, PaperIdentifier, PaperVersion
from service.papers.record import Identifier
from service.translation import joined, ngettext

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
    version: int | None = None

    @property
    def dated(self) -> date:
        """The day to show: first published, else listed."""
        return self.published_on or self.listed_on

    @property
    def named(self) -> tuple[str, ...]:
        """The authors that a line names: all of them up to three, else the first two."""
        total = max(self.author_count, len(self.authors))
        return self.authors[: _NAMED if total <= _NAMED else _NAMED - 1]

    @property
    def unnamed(self) -> int:
        """How many authors a line does not name."""
        return max(self.author_count, len(self.authors)) - len(self.named)

    @property
    def byline(self) -> str:
        """Who wrote it, in one line: names, else the organization, else how many they are; may be empty."""
        if self.authors:
            if not self.unnamed:
                return joined(self.named)
            named = ", ".join(self.named)
            return ngettext("%(authors)s and %(num)s more", "%(authors)s and %(num)s more", self.unnamed, authors=named)
        if self.organization:
            return self.organization
        if self.author_count:
            return ngettext("%(num)s author", "%(num)s authors", self.author_count)
        return ""


_SHOWN: Final = tuple(getattr(Paper, each.name) for each in fields(PaperView))


@dataclass(frozen=True, slots=True)
class DayCount:
    """How many papers a day listed."""

    day: date
    papers: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a paper, as announced."""

    version: int
    title: str
    source: str
    listed_on: date | None
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class NewlyFeatured:
    """A paper that Daily Papers featured after its edition was cut."""

    paper_id: int
    edition_id: int
    featured_at: datetime
    upvotes: int
    known_as: tuple[int, ...]
    """Every id that a digest may know the paper by: its own, and those of papers merged into it."""


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, PaperView]:
    """The papers of these ids, by the id asked for; those that do not exist are left out.

    The id of a paper that was merged leads to the paper that stands, whose view carries its own id.
    """
    wanted = set(ids)
    # As an array: one statement, prepared once, however many ids.
    statement = select(*_SHOWN).where(Paper.id == func.any(list(wanted)))
    found = {row.id: view(row) for row in session.execute(statement)}
    missing = wanted - found.keys()
    if missing:
        led = select(PaperAlias.id, PaperAlias.paper_id).where(PaperAlias.id == func.any(list(missing)))
        leads = dict(session.execute(led).all())
        survivors = by_ids(session, leads.values()) if leads else {}
        found |= {old: survivors[paper] for old, paper in leads.items() if paper in survivors}
    return found


def of_day(session: Session, day: date, limit: int = 1_000, offset: int = 0) -> list[PaperView]:
    """A day's papers: the featured first, by upvotes; then the rest as they came."""
    statement = (
        select(*_SHOWN)
        .where(Paper.listed_on == day)
        .order_by(Paper.featured_on.is_(None), func.coalesce(Paper.upvotes, 0).desc(), Paper.id)
        .limit(limit)
        .offset(offset)
    )
    return [view(row) for row in session.execute(statement)]


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
    """How many papers that day listed."""
    return session.scalars(select(func.count()).where(Paper.listed_on == day)).one()


def one(session: Session, paper_id: int) -> PaperView | None:
    """The paper of this id; None where there is none, though an alias may lead on (:func:`survivor`)."""
    paper = session.get(Paper, paper_id)
    return view(paper) if paper else None


def by_identifier(session: Session, scheme: str, value: str) -> PaperView | None:
    """The paper that carries this identifier, in its canonical form; None where none does."""
    statement = (
        select(Paper)
        .join(PaperIdentifier, PaperIdentifier.paper_id == Paper.id)
        .where(PaperIdentifier.scheme == scheme, PaperIdentifier.value == value)
    )
    paper = session.scalar(statement)
    return view(paper) if paper else None


def survivor(session: Session, paper_id: int) -> int | None:
    """The id of the paper that a merged one has become; None where this id was never merged away."""
    return session.scalar(select(PaperAlias.paper_id).where(PaperAlias.id == paper_id))


def versions(session: Session, paper_id: int) -> list[Version]:
    """The versions of a paper that were announced, newest first."""
    statement = (
        select(PaperVersion)
        .where(PaperVersion.paper_id == paper_id)
        .order_by(PaperVersion.version.desc(), PaperVersion.scheme)
    )
    return [
        Version(each.version, each.title, each.source, each.listed_on, each.seen_at)
        for each in session.scalars(statement)
    ]


def newly_featured(session: Session, since: datetime, until: datetime, limit: int = 20) -> list[NewlyFeatured]:
    """The papers that became featured in ``(since, until]``, after their edition was cut; most upvoted first.

    For the trending block of a mail: give the slot of the reader's last digest and that of this one, and leave out
    every paper of which any id in ``known_as`` stands in ``paper_ids`` of a digest the reader was sent. The paper is
    not new: it stays in its edition and is matched no second time. Reads ix_paper_featured_at.
    """
    statement = (
        select(Paper.id, Paper.edition_id, Paper.featured_at, func.coalesce(Paper.upvotes, 0).label("upvotes"))
        .join(Edition, Edition.id == Paper.edition_id)
        .where(Paper.featured_at > since, Paper.featured_at <= until, Paper.featured_at > Edition.cut_at)
        .where(Paper.withdrawn.is_(False))
        .order_by(func.coalesce(Paper.upvotes, 0).desc(), Paper.id)
        .limit(limit)
    )
    rows = session.execute(statement).all()
    aliases: dict[int, list[int]] = {row.id: [row.id] for row in rows}
    merged = select(PaperAlias.paper_id, PaperAlias.id).where(PaperAlias.paper_id.in_(aliases)).order_by(PaperAlias.id)
    for paper_id, old in session.execute(merged):
        aliases[paper_id].append(old)
    return [NewlyFeatured(row.id, row.edition_id, row.featured_at, row.upvotes, tuple(aliases[row.id])) for row in rows]


def identifiers(session: Session, paper_id: int) -> list[Identifier]:
    """All that a paper is known by, in order."""
    statement = select(PaperIdentifier).where(PaperIdentifier.paper_id == paper_id)
    return sorted(Identifier(each.scheme, each.value) for each in session.scalars(statement))


def view(paper: Paper | Row[Any]) -> PaperView:
    """A row as a value that outlives its session; of the table, or with the columns that are shown."""
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
        version=paper.version,
    )
