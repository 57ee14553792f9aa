"""What came back: bounces, complaints, requests by mail."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base, one_of


class ReturnKind(StrEnum):
    HARD_BOUNCE = "hard bounce"
    """The address does not exist: never again."""
    SOFT_BOUNCE = "soft bounce"
    """Not delivered, for a reason that may pass: counted."""
    REFUSAL = "refusal"
    """The message, its sender or its content was not wanted: says nothing about the address, much about us."""
    COMPLAINT = "complaint"
    """The reader called it spam."""
    UNSUBSCRIBE = "unsubscribe"
    SUBSCRIBE = "subscribe"


class ReturnEvent(Base):
    """Something came back. Append-only: a trigger refuses all else. Holds no address."""

    __tablename__ = "return_event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of what makes this event one: read twice, it is recorded and acted on once."""
    kind: Mapped[str]
    address_hash: Mapped[bytes]
    reader_id: Mapped[int | None] = mapped_column(BigInteger)
    """No foreign key: the record outlives the reader."""
    delivery_id: Mapped[int | None] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(server_default="")
    """Enhanced status code (RFC 3463)."""
    diagnostic: Mapped[str] = mapped_column(server_default="")
    """What the far end wrote, its addresses removed."""
    source: Mapped[str]
    """Through which door: smtp, inbound, imap, or a provider."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("kind", ReturnKind),
        Index("ix_return_event_reader_id", "reader_id", "at"),
        Index("ix_return_event_address_hash", "address_hash", postgresql_where=text("kind = 'soft bounce'")),
        Index("ix_return_event_kind", "kind", "at"),
    )
