"""Papers, their names, who announced them, editions, and the readings of sources."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base


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

    __table_args__ = (
        Index("ix_paper_unedited", "id", postgresql_where=text("edition_id IS NULL")),
        Index("ix_paper_edition_id", "edition_id"),
        Index("ix_paper_listed_on", "listed_on", "id"),
        Index("ix_paper_title_key", "title_key", postgresql_using="hash"),
        Index("ix_paper_updated_at", "updated_at", "id"),
    )


class PaperIdentifier(Base):
    """A name a source has for a paper: scheme ``arxiv`` (no version), ``doi`` (lower case), or a source's own."""

    __tablename__ = "paper_identifier"

    scheme: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    paper_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), index=True)


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
