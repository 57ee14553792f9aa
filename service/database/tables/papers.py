"""Papers, their names, who announced them, editions, and the readings of sources."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base, one_of


class IdentityMeans(StrEnum):
    """How a name came to its paper, or two papers to be one."""

    STATED = "stated"
    """The row that made the paper bore it."""
    BESIDE = "beside"
    """A row bore it beside a name already known."""
    TITLE = "title"
    """A row without a known name was taken for the paper by its title, and its authors or abstract."""


class Paper(Base):
    """One work, however many sources and versions announce it."""

    __tablename__ = "paper"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    title: Mapped[str]
    abstract: Mapped[str] = mapped_column(server_default="")
    tldr: Mapped[str | None]
    authors: Mapped[list[str]] = mapped_column(server_default="{}")
    author_count: Mapped[int] = mapped_column(Integer, server_default="0")
    """May exceed ``len(authors)``: some sources give only the number."""
    organization: Mapped[str | None]
    categories: Mapped[list[str]] = mapped_column(server_default="{}")
    """arXiv categories, primary first."""
    keywords: Mapped[list[str]] = mapped_column(server_default="{}")
    published_on: Mapped[date | None]
    """When its authors first published it."""
    listed_on: Mapped[date]
    """The day of the site it is shown under: the source's listing day, else the day it arrived."""
    featured_on: Mapped[date | None]
    """The day Hugging Face Daily Papers listed it."""
    upvotes: Mapped[int | None]
    comments: Mapped[int | None]
    url: Mapped[str | None]
    pdf_url: Mapped[str | None]
    code_url: Mapped[str | None]
    project_url: Mapped[str | None]
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    title_key: Mapped[str]
    """The title with everything but letters and digits folded away: last resort of identity."""
    first_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    edition_id: Mapped[int | None] = mapped_column(ForeignKey("edition.id"))
    version: Mapped[int | None] = mapped_column(Integer)
    """The newest version announced; title and abstract are that version's."""
    featured_at: Mapped[datetime | None]
    """When it became known here that it is featured."""
    original_title: Mapped[str | None] = mapped_column(deferred=True)
    """As the source wrote it, where it differs from ``title`` by more than white space."""
    original_abstract: Mapped[str | None] = mapped_column(deferred=True)

    __table_args__ = (
        Index("ix_paper_unedited", "id", postgresql_where=text("edition_id IS NULL")),
        Index("ix_paper_edition_id", "edition_id"),
        Index("ix_paper_listed_on", "listed_on", "id"),
        Index("ix_paper_title_key", "title_key", postgresql_using="hash"),
        Index("ix_paper_updated_at", "updated_at", "id"),
        Index("ix_paper_featured_at", "featured_at", postgresql_where=text("featured_at IS NOT NULL")),
    )


class PaperStamp(Base):
    """The transaction that changed papers last: one row, written by triggers (service/papers/stamp.py)."""

    __tablename__ = "paper_stamp"

    one: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    changed_by: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("one", name="one"),)


class PaperIdentifier(Base):
    """A name a source has for a paper: scheme ``arxiv`` (no version), ``doi`` (lower case), or a source's own."""

    __tablename__ = "paper_identifier"

    scheme: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    paper_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), index=True)
    means: Mapped[str] = mapped_column(server_default="stated")
    """How the name came to its paper: the text of an :class:`IdentityMeans`."""
    confidence: Mapped[float] = mapped_column(REAL, server_default="1")
    """How surely it names this paper, 0 to 1 (docs/decisions/010-identity.md)."""
    source: Mapped[str | None]
    """Who told of it first."""
    told_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("means", IdentityMeans),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
    )


class Sighting(Base):
    """A source announced a paper."""

    __tablename__ = "sighting"

    paper_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    listed_on: Mapped[date]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Edition(Base):
    """An immutable, numbered set of papers cut from what arrived since the edition before."""

    __tablename__ = "edition"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """Consecutive from 1."""
    cut_at: Mapped[datetime] = mapped_column(server_default=func.now())
    paper_count: Mapped[int]


class Ingest(Base):
    """One reading of one source: what was taken and what was not."""

    __tablename__ = "ingest"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str]
    origin: Mapped[str]
    """The URL or file name read."""
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    seen: Mapped[int]
    new: Mapped[int]
    updated: Mapped[int]
    rejected: Mapped[int]
    error: Mapped[str | None]
    """Why the source as a whole could not be read (or not to its end)."""

    __table_args__ = (Index("ix_ingest_source", "source", "started_at"),)


class IngestProblem(Base):
    """A row of a source that could not be taken."""

    __tablename__ = "ingest_problem"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    ingest_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("ingest.id", ondelete="CASCADE"), index=True)
    position: Mapped[str]
    problem: Mapped[str]


# ---- identity: what became of names and papers -----------------------------------------------------------------------


class PaperAlias(Base):
    """A paper that turned out to be another: its id still leads there. Chains are kept short: it always names a
    paper that stands."""

    __tablename__ = "paper_alias"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The id of the paper that is no more; digests and links may still carry it."""
    paper_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), index=True)
    edition_id: Mapped[int | None]
    """The edition the merged paper was in; that edition's count is not changed."""
    title: Mapped[str]
    means: Mapped[str]
    confidence: Mapped[float] = mapped_column(REAL)
    because: Mapped[str]
    """The row that bore both names, in one line."""
    merged_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (one_of("means", IdentityMeans),)


class PaperVersion(Base):
    """A version of a paper that a source announced."""

    __tablename__ = "paper_version"

    paper_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    """Whose numbering: ``arxiv``, or ``doi`` for servers that number their own."""
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    source: Mapped[str]
    listed_on: Mapped[date | None]
    title: Mapped[str]
    """As this version had it."""
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


# ---- coverage: which days of which source have been read -------------------------------------------------------------


class CoverageState(StrEnum):
    PENDING = "pending"
    """Within the look-back, and the source has not told of it."""
    FAILED = "failed"
    """Asked for, and nothing came."""
    PARTIAL = "partial"
    """Some rows came, not all."""
    EMPTY = "empty"
    """Read to its end: the source announced nothing."""
    COMPLETE = "complete"
    """Read to its end."""


class Coverage(Base):
    """What is known of one day of one source (service/papers/coverage.py)."""

    __tablename__ = "coverage"

    source: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    state: Mapped[str]
    origin: Mapped[str]
    """The URL or file that spoke last."""
    expected: Mapped[int | None] = mapped_column(Integer)
    """Rows the source says the day has."""
    taken: Mapped[int] = mapped_column(Integer, server_default="0")
    rejected: Mapped[int] = mapped_column(Integer, server_default="0")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None]
    """Why the last reading that failed did so; null once the day is complete."""
    read_at: Mapped[datetime | None]
    """The last attempt."""
    completed_at: Mapped[datetime | None]
    """The last reading to the day's end."""

    __table_args__ = (one_of("state", CoverageState), Index("ix_coverage_day", "day"))


class AskedAgain(Base):
    """A day of a source that an operator wants read once more, complete or not, until that is done."""

    __tablename__ = "asked_again"

    source: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
