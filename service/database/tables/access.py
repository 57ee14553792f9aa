"""What opens a reader's own data without a page: tokens of the HTTP API, and the key of the personal feed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, func
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base


class AccessToken(Base):
    """A bearer token of the HTTP API (RFC 6750). The token itself is not kept."""

    __tablename__ = "access_token"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    reader_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reader.id", ondelete="CASCADE"), index=True)
    digest: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the token, which is random: nothing slower is needed."""
    code_digest: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the mailed code it was given for: a code works once."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class FeedKey(Base):
    """What a reader's personal feed address is signed over; another nonce makes the old address void."""

    __tablename__ = "feed_key"

    reader_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("reader.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    nonce: Mapped[str]
    rotated_at: Mapped[datetime] = mapped_column(server_default=func.now())
