"""Who runs the installation, where they are signed in, and what they did."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base, one_of


class OperatorRole(StrEnum):
    """What an operator may do; each may do what the ones below may."""

    OWNER = "owner"
    """Operators, and the pause of all digests."""
    EDITOR = "editor"
    """Acts: topics, notes, mails, remedies."""
    VIEWER = "viewer"
    """Sees."""


class Operator(Base):
    __tablename__ = "operator"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str]
    address_key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    link_sent_at: Mapped[datetime | None]
    totp_secret: Mapped[bytes | None]
    """Of the second factor, sealed (operators/second_factor.py)."""
    totp_since: Mapped[datetime | None]
    """When its first code was given; before, the secret proves nothing."""
    totp_step: Mapped[int | None] = mapped_column(BigInteger)
    """The time step (RFC 6238) of the last code taken: it and earlier ones are not taken again."""
    wrong_codes: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """One after the other."""
    locked_until: Mapped[datetime | None]
    """No code is looked at before."""
    passkey_handle: Mapped[bytes | None] = mapped_column(unique=True)
    """Random, made with the first passkey: what authenticators know the operator by (WebAuthn's user handle)."""

    __table_args__ = (one_of("role", OperatorRole),)


class OperatorSession(Base):
    """A browser in which an operator is signed in."""

    __tablename__ = "operator_session"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    operator_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("operator.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the cookie, which is random: nothing slower is needed."""
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """To the minute."""
    verified_at: Mapped[datetime | None]
    """When the second factor was given; before, it opens nothing."""
    user_agent: Mapped[str]


class Passkey(Base):
    """A public-key credential (WebAuthn) of an operator. It proves; it holds no secret."""

    __tablename__ = "passkey"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    operator_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("operator.id", ondelete="CASCADE"), index=True)
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    """COSE (RFC 9052)."""
    sign_count: Mapped[int] = mapped_column(BigInteger)
    """The authenticator's counter as last seen; 0 where it keeps none, as passkeys that are synced do not."""
    user_verified: Mapped[bool]
    """Whether a PIN or a finger stood behind it in a ceremony that another factor stood behind, too."""
    transports: Mapped[list[str]]
    """How the browser reaches it: "internal", "usb", …"""
    name: Mapped[str]
    """The operator's own word for it."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AuditEvent(Base):
    """Who did what, when, to what. Append-only: a trigger refuses all else, but that lines older than ninety days are
    dropped by ``shorten_audit_log`` (service/retention.py). Holds no address."""

    __tablename__ = "audit_event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    operator_id: Mapped[int | None] = mapped_column(BigInteger)
    """No foreign key: the record outlives the operator. Null: a command on the machine."""
    act: Mapped[str]
    subject: Mapped[str]
    """What it was done to, by its id: "delivery 12"."""
    detail: Mapped[str]

    __table_args__ = (
        Index("ix_audit_event_operator_id", "operator_id", "id"),
        Index("ix_audit_event_act", "act", "id"),
        Index("ix_audit_event_subject", "subject", "id"),
        Index("ix_audit_event_at", "at"),
    )
