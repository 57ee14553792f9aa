"""What fetching remembers over restarts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base


class FetchedBody(Base):
    """The last answer of a URL that carried validators, for conditional requests (RFC 9110, 13)."""

    __tablename__ = "fetched_body"

    url: Mapped[str] = mapped_column(primary_key=True)
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    packed: Mapped[bytes]
    """zlib."""
    fetched_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class FetchHost(Base):
    """When a host may be asked again."""

    __tablename__ = "fetch_host"

    host: Mapped[str] = mapped_column(primary_key=True)
    """With its port, where it is not the scheme's own; ``arxiv.org`` for all of arXiv's."""
    not_before: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    """In a row; none since the last good answer."""
