"""Readers, their interests and consent; addresses that must not be mailed."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, func, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base, one_of


class ReaderState(StrEnum):
    PENDING = "pending"
    """Subscribed, address not confirmed: gets the confirmation mail and nothing else."""
    ACTIVE = "active"
    UNSUBSCRIBED = "unsubscribed"


class Cadence(StrEnum):
    """How often a digest comes."""

    DAILY = "daily"
    """On every chosen weekday."""
    WEEKLY = "weekly"
    """On one weekday, with what was new in the week."""


class Abstracts(StrEnum):
    """How much of an abstract a mail shows."""

    SHORT = "short"
    FULL = "full"


class Weight(IntEnum):
    """How much of a crowded digest an interest may fill."""

    LESS = -1
    NORMAL = 0
    MORE = 1


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
    trending: Mapped[bool] = mapped_column(server_default="true")
    """Wants a few papers that everybody talks about, below what they asked for."""
    cadence: Mapped[str] = mapped_column(server_default=Cadence.DAILY)
    abstracts: Mapped[str] = mapped_column(server_default=Abstracts.SHORT)
    plain_text: Mapped[bool] = mapped_column(server_default="false")
    """Mails without an HTML part."""
    paused_until: Mapped[datetime | None]
    """No digest before; the beginning of a day in the reader's time zone."""
    instant_after: Mapped[datetime | None]
    """No digest out of turn before."""
    session_epoch: Mapped[int] = mapped_column(server_default="0")
    """Sessions signed with another number do not count: raising it signs out everywhere."""

    __table_args__ = (
        one_of("state", ReaderState),
        one_of("cadence", Cadence),
        one_of("abstracts", Abstracts),
        CheckConstraint("cadence <> 'weekly' OR weekdays & (weekdays - 1) = 0", name="weekly_is_one_day"),
        CheckConstraint("digest_hour BETWEEN 0 AND 23", name="digest_hour"),
        CheckConstraint("weekdays BETWEEN 1 AND 127", name="weekdays"),
        CheckConstraint("paper_limit BETWEEN 1 AND 50", name="paper_limit"),
        CheckConstraint("state <> 'active' OR next_digest_at IS NOT NULL", name="active_has_slot"),
        Index("ix_reader_due", "next_digest_at", postgresql_where=text("state = 'active'")),
        Index("ix_reader_beginning", "address_key", postgresql_ops={"address_key": "text_pattern_ops"}),
        Index("ix_reader_waiting", "state", postgresql_where=text("state <> 'active'")),
        Index("ix_reader_paused", "paused_until", postgresql_where=text("paused_until IS NOT NULL")),
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
    weight: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    instant: Mapped[bool] = mapped_column(server_default="false")
    """A digest comes as soon as an edition brings something for this interest."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    # Planning reads the first index alone, without a look at the rows.
    __table_args__ = (
        CheckConstraint("weight BETWEEN -1 AND 1", name="weight"),
        Index(
            "uq_interest_reader_id_query_id",
            "reader_id",
            "query_id",
            unique=True,
            postgresql_include=["muted", "weight"],
        ),
        Index("ix_interest_instant", "reader_id", "query_id", postgresql_where=text("instant AND NOT muted")),
    )


class Feedback(Base):
    """A reader's word on a paper: the last one given. What is learned from it: service/matching/likeness.py."""

    __tablename__ = "feedback"

    reader_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reader.id", ondelete="CASCADE"), primary_key=True)
    paper_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    liked: Mapped[bool]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Mark(Base):
    """What a reader did with a paper of theirs: read it, put it aside. A row says at least one of the two."""

    __tablename__ = "mark"

    reader_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reader.id", ondelete="CASCADE"), primary_key=True)
    paper_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    read_at: Mapped[datetime | None]
    saved_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("read_at IS NOT NULL OR saved_at IS NOT NULL", name="says_something"),
        Index("ix_mark_saved", "reader_id", "saved_at", postgresql_where=text("saved_at IS NOT NULL")),
    )


class UsedLink(Base):
    """A link that works once has worked; kept for as long as its signature would hold."""

    __tablename__ = "used_link"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256."""
    used_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AddressChange(Base):
    """An address that a reader wants mail at, until its owner confirms. One a reader: a new one replaces it."""

    __tablename__ = "address_change"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    """What the link names: a replaced change leaves its link dead."""
    reader_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reader.id", ondelete="CASCADE"), unique=True)
    email: Mapped[str]
    address_key: Mapped[str]
    requested_at: Mapped[datetime]


class ConsentEvent(Base):
    """Who agreed to what, when, from where, with which wording.

    Append-only: a trigger refuses all else, but that ``ip`` and ``user_agent`` become coarser (service/retention.py).
    """

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

    __table_args__ = (
        Index("ix_consent_event_at", "at", "kind"),
        Index(
            "ix_consent_event_traced",
            "at",
            postgresql_where=text("user_agent IS NOT NULL OR masklen(ip) IN (32, 128)"),
        ),
    )


class SuppressionReason(StrEnum):
    HARD_BOUNCE = "hard bounce"
    SOFT_BOUNCES = "soft bounces"
    COMPLAINT = "complaint"
    OPERATOR = "operator"


class Suppression(Base):
    """An address that must not be mailed; a keyed hash, surviving account deletion."""

    __tablename__ = "suppression"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[str]
    detail: Mapped[str] = mapped_column(server_default="")
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    trial_until: Mapped[datetime | None]
    """Until then a confirmation mail may try a bounced address once more: its owner has asked for it."""

    __table_args__ = (one_of("reason", SuppressionReason),)


class HashKey(Base):
    """The one key that all hashes of addresses are made with, sealed (subscribers/hash_key.py)."""

    __tablename__ = "hash_key"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    sealed: Mapped[bytes]
    sealed_at: Mapped[datetime]
    """Under the secret that signed then: about when that one began to."""

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)


class ReaderImport(Base):
    """How far the import of a list of readers has come, so that a killed one goes on."""

    __tablename__ = "reader_import"

    fingerprint: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256 of the file and of how it is read."""
    name: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    rows: Mapped[int]
    """Done: entered, known, suppressed or bad."""
    entered: Mapped[int]
    known: Mapped[int]
    suppressed: Mapped[int]
    bad: Mapped[int]
    bad_bytes: Mapped[int] = mapped_column(BigInteger)
    """Length of the file of bad rows."""
