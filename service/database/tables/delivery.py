"""Digests and the outbox.

``digest`` and ``delivery`` carry no foreign keys: a million rows are copied in per round, the planner writes both in
one transaction, and deleting a reader deletes both.

Both have a partition for each calendar month (service/database/months.py), which besides what is declared here has

- of ``digest`` a unique index on (reader_id, slot) and a CHECK that the slot is of the month: a reader has one digest
  for a slot, in whatever month it is planned;
- of ``delivery`` a CHECK that a digest's delivery has the digest's id: a digest has one, besides what is sent again.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base, one_of

_NEXT_ID = text("month_id(now(), nextval('mail_number'::regclass))")


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
    ADDRESS_CONFIRM = "address-confirm"
    """To the new address of a reader who wants to change it."""
    ADDRESS_NOTICE = "address-notice"
    """To the old one, after the change."""
    GOODBYE = "goodbye"
    """To one who was deleted."""
    PAUSE_ENDED = "pause-ended"
    OPERATOR_LINK = "operator-link"
    """To an operator who wants to sign in."""
    RESEND = "resend"
    """A digest once more, because an operator said so (digests/resend.py)."""
    TEST = "test"
    """To an operator: what somebody's digest looks like (digests/trial.py)."""


class Digest(Base):
    """What one reader gets for one slot of their schedule."""

    __tablename__ = "digest"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True, server_default=_NEXT_ID)
    """Of the slot's month. The default, of today's, is for the version before."""
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
    """How many papers matched in all; those over the limit are only linked to (``plan.rest``)."""
    trending_ids: Mapped[list[int]] = mapped_column(server_default="{}")
    """A few papers everybody talks about, best first, which neither this digest nor an earlier one brought to the
    reader: shown apart, below, under a heading of their own; never counted in ``matched``, and without reasons. Empty
    for readers who do not want them (``reader.trending``) and where nothing is talked about."""
    note_id: Mapped[int] = mapped_column(server_default="0")
    """The editor's note on top, chosen when the digest was planned, so that every try carries the same; 0: none."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_digest_note_id", "note_id", postgresql_where=text("note_id > 0")),
        {"postgresql_partition_by": "RANGE (id)"},
    )


class Delivery(Base):
    """A row of the outbox: one message to one address, and its state (service/outbox/states.py)."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True, server_default=_NEXT_ID)
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
    unanswered: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Of the attempts, those that ended without the relay's answer."""
    reply: Mapped[str | None]
    """The last word of the relay, or why the row was cancelled."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("state", DeliveryState),
        one_of("kind", DeliveryKind),
        Index("ix_delivery_due", "priority", "due_at", "id", postgresql_where=text("state IN ('queued', 'deferred')")),
        Index("ix_delivery_leased", "lease_until", postgresql_where=text("state = 'sending'")),
        Index("ix_delivery_reader_id", "reader_id"),
        Index("ix_delivery_uncertain", "id", postgresql_where=text("state = 'uncertain'")),
        Index("ix_delivery_settled", "settled_at", "state", "kind", postgresql_where=text("settled_at IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (id)"},
    )


class EditorNote(Base):
    """A few words of the editor's on top of digests. Its words never change: another text is another note."""

    __tablename__ = "editor_note"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    words: Mapped[str]
    first_day: Mapped[date | None]
    last_day: Mapped[date | None]
    """Days of the reader's own calendar, both included. Null: with each reader's next digest, once."""
    saved_at: Mapped[datetime] = mapped_column(server_default=func.now())
    withdrawn_at: Mapped[datetime | None]
    """Digests planned before carry it all the same."""

    __table_args__ = (
        CheckConstraint("(first_day IS NULL) = (last_day IS NULL) AND first_day <= last_day", name="days"),
    )


class CarriedOver(Base):
    """A digest that was given up undelivered: its papers come with its reader's next one (digests/carried.py)."""

    __tablename__ = "carried_over"

    digest_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Without a foreign key, which would hold the digest's partition: who deletes a digest deletes this."""
    reader_id: Mapped[int] = mapped_column(BigInteger, index=True)


class SendingPause(Base):
    """At most one row: nobody's mail leaves at present, because the relay takes nobody's (outbox/pause.py)."""

    __tablename__ = "sending_pause"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    reason: Mapped[str]
    """One line, with the remedy."""
    since: Mapped[datetime]
    until: Mapped[datetime]
    """When the relay is tried next."""
    tries: Mapped[int]
    """In vain, one after the other."""

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)


class DigestPause(Base):
    """At most one row: an operator has stopped all digests; other mail goes out (outbox/digest_pause.py)."""

    __tablename__ = "digest_pause"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    since: Mapped[datetime]
    operator_id: Mapped[int]

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)


class Letter(Base):
    """What a mail needs that its reader's row does not say (any more): to whom it goes, and what it tells.

    Written with its delivery, dropped soon after the delivery is settled (outbox/letters.py).
    """

    __tablename__ = "letter"

    delivery_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    email: Mapped[str]
    address_key: Mapped[str]
    language: Mapped[str]
    plain_text: Mapped[bool]
    facts: Mapped[dict[str, Any]]
    """Words and numbers for the template."""
