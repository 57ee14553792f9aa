"""The tables. Their names are the vocabulary's; every other room reads and writes through these definitions.

Columns of state hold the text of a ``StrEnum`` with a CHECK. ``digest`` and ``delivery`` carry no foreign keys: a
million rows are copied in per round, the planner writes both in one transaction, and deleting a reader deletes both.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB, REAL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: DateTime(timezone=True),
        date: Date(),
        str: Text(),
        bytes: LargeBinary(),
        list[str]: ARRAY(Text()),
        list[int]: ARRAY(BigInteger()),
        list[float]: ARRAY(REAL()),
        dict[str, Any]: JSONB(),
    }


def _one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    values = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({values})", name=column)


class ReaderState(StrEnum):
    PENDING = "pending"
    """Subscribed, address not confirmed: gets the confirmation mail and nothing else."""
    ACTIVE = "active"
    UNSUBSCRIBED = "unsubscribed"


class DeliveryState(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNCERTAIN = "uncertain"


class DeliveryKind(StrEnum):
    DIGEST = "digest"
    CONFIRM = "confirm"
    WELCOME = "welcome"
    SIGN_IN = "sign-in"


# ---- papers ----------------------------------------------------------------------------------------------------------


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


# ---- matching --------------------------------------------------------------------------------------------------------


class Query(Base):
    """One canonical expression of the query language; stored once, however many readers follow it."""

    __tablename__ = "query"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    canonical: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of ``canonical``: a B-tree cannot hold the text of a long query."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Topic(Base):
    """A named query of the catalogue. The TOML file is the truth; this table follows it at every start."""

    __tablename__ = "topic"

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    group_name: Mapped[str]
    position: Mapped[int]
    query_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("query.id"), index=True)
    retired: Mapped[bool] = mapped_column(server_default="false")
    """No longer in the catalogue: nobody new can choose it, its followers keep it."""


class Match(Base):
    """The papers of one edition that one query matches, computed once. A row with empty arrays says: none."""

    __tablename__ = "match"

    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id"), primary_key=True)
    query_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    paper_ids: Mapped[list[int]]
    scores: Mapped[list[float]]
    """Same length and order as ``paper_ids``; higher is better."""


# ---- subscribers -----------------------------------------------------------------------------------------------------


class Reader(Base):
    __tablename__ = "reader"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str]
    """As the reader wrote it, domain in lower case: where mail goes."""
    address_key: Mapped[str] = mapped_column(unique=True)
    """Case-folded, domain in IDNA A-labels: two spellings of one address are one reader."""
    state: Mapped[str] = mapped_column(server_default=ReaderState.PENDING)
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    """IANA name."""
    digest_hour: Mapped[int] = mapped_column(SmallInteger, server_default="7")
    weekdays: Mapped[int] = mapped_column(SmallInteger, server_default="127")
    """Bit 0 is Monday, bit 6 Sunday."""
    paper_limit: Mapped[int] = mapped_column(SmallInteger)
    language: Mapped[str] = mapped_column(server_default="en")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    confirmed_at: Mapped[datetime | None]
    next_digest_at: Mapped[datetime | None]
    """The slot of the next digest; null unless active."""
    last_edition_id: Mapped[int] = mapped_column(server_default="0")
    """The newest edition already considered for this reader: never read again."""

    __table_args__ = (
        _one_of("state", ReaderState),
        CheckConstraint("digest_hour BETWEEN 0 AND 23", name="digest_hour"),
        CheckConstraint("weekdays BETWEEN 1 AND 127", name="weekdays"),
        CheckConstraint("paper_limit BETWEEN 1 AND 50", name="paper_limit"),
        CheckConstraint("state <> 'active' OR next_digest_at IS NOT NULL", name="active_has_slot"),
        Index("ix_reader_due", "next_digest_at", postgresql_where=text("state = 'active'")),
    )


class Interest(Base):
    """A reader follows, or mutes, a query."""

    __tablename__ = "interest"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    reader_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reader.id", ondelete="CASCADE"))
    query_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("query.id"), index=True)
    topic_slug: Mapped[str | None] = mapped_column(ForeignKey("topic.slug"), index=True)
    label: Mapped[str]
    """What the reader calls it: the topic's name, or the query as typed."""
    muted: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("uq_interest_reader_id_query_id", "reader_id", "query_id", unique=True),)


class ConsentEvent(Base):
    """Who agreed to what, when, from where, with which wording. Append-only: a trigger refuses all else."""

    __tablename__ = "consent_event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    reader_id: Mapped[int] = mapped_column(BigInteger, index=True)
    """No foreign key: the record outlives the reader."""
    address_hash: Mapped[bytes]
    kind: Mapped[str]
    wording: Mapped[str]
    origin: Mapped[str]
    """The form or command through which it came."""
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Suppression(Base):
    """An address that must not be mailed; a keyed hash, surviving account deletion."""

    __tablename__ = "suppression"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[str]
    detail: Mapped[str] = mapped_column(server_default="")
    at: Mapped[datetime] = mapped_column(server_default=func.now())


# ---- digests and delivery --------------------------------------------------------------------------------------------


class Digest(Base):
    """What one reader gets for one slot of their schedule."""

    __tablename__ = "digest"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    reader_id: Mapped[int] = mapped_column(BigInteger)
    slot: Mapped[datetime]
    first_edition_id: Mapped[int]
    last_edition_id: Mapped[int]
    paper_ids: Mapped[list[int]]
    """In the order of the mail."""
    reason_papers: Mapped[list[int]]
    """With ``reason_queries``: pairs (index into ``paper_ids``, query id), one for each interest a paper matched."""
    reason_queries: Mapped[list[int]]
    matched: Mapped[int]
    """How many papers matched in all; those over the reader's limit are only linked to."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("uq_digest_reader_id_slot", "reader_id", "slot", unique=True),)


class Delivery(Base):
    """A row of the outbox: one message to one address, and its state (service/outbox/states.py)."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    """0 before 5: transactional mail overtakes digests."""
    reader_id: Mapped[int] = mapped_column(BigInteger)
    digest_id: Mapped[int | None] = mapped_column(BigInteger)
    message_id: Mapped[str]
    """Without angle brackets; fixed when the row is made, so that any repeat carries the same."""
    state: Mapped[str] = mapped_column(server_default=DeliveryState.QUEUED)
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Not to be tried before."""
    deadline: Mapped[datetime | None]
    """Not to be tried after."""
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    reply: Mapped[str | None]
    """The last word of the relay, or why the row was cancelled."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        _one_of("state", DeliveryState),
        _one_of("kind", DeliveryKind),
        Index("ix_delivery_due", "priority", "due_at", postgresql_where=text("state IN ('queued', 'deferred')")),
        Index("ix_delivery_leased", "lease_until", postgresql_where=text("state = 'sending'")),
        Index("uq_delivery_digest_id", "digest_id", unique=True, postgresql_where=text("digest_id IS NOT NULL")),
        Index("ix_delivery_reader_id", "reader_id"),
    )
