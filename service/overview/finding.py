"""Finding readers: by address or its beginning, by id, by state; a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.database.tables import Reader, ReaderState

PAGE: Final = 50
_LARGEST_ID: Final = 2**63 - 1
_ESCAPES: Final = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})


@dataclass(frozen=True, slots=True)
class Found:
    """A reader in a list."""

    id: int
    email: str
    state: ReaderState
    created_at: datetime
    next_digest_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Readers by id, and where the next page begins."""

    readers: tuple[Found, ...]
    after: int | None
    """None: this is the last page."""


def find(
    session: Session, asked: str = "", *, state: ReaderState | None = None, after: int = 0, limit: int = PAGE
) -> FoundPage:
    """Readers whose address begins with what is asked, letter case aside, or whose id it is; all for an empty question.

    Reads ix_reader_beginning, pk_reader.
    """
    wanted = asked.replace("\x00", "").strip().casefold()
    statement = select(Reader.id, Reader.email, Reader.state, Reader.created_at, Reader.next_digest_at)
    if wanted:
        begins = Reader.address_key.like(f"{wanted.translate(_ESCAPES)}%", escape="\\")
        is_id = wanted.isascii() and wanted.isdigit() and int(wanted) <= _LARGEST_ID
        statement = statement.where(or_(begins, Reader.id == int(wanted)) if is_id else begins)
    if state is not None:
        statement = statement.where(Reader.state == state)
    rows = session.execute(statement.where(Reader.id > after).order_by(Reader.id).limit(limit + 1)).all()
    readers = tuple(
        Found(row.id, row.email, ReaderState(row.state), row.created_at, row.next_digest_at) for row in rows[:limit]
    )
    return FoundPage(readers, readers[-1].id if len(rows) > limit else None)
