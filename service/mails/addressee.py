"""Whom a mail is for: what composing needs to know of a reader."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import translation
from service.database.tables import Reader
from service.translation import Language


class Addressee(NamedTuple):
    """A reader, as the columns of the table ``reader``."""

    id: int
    email: str
    address_key: str
    state: str
    timezone: str
    digest_hour: int
    language: str
    cadence: str
    abstracts: str
    plain_text: bool
    paused_until: datetime | None

    @property
    def speaks(self) -> Language:
        return translation.of(self.language)


_COLUMNS: Final = tuple(getattr(Reader, field) for field in Addressee._fields)


def addressee(reader: Reader) -> Addressee:
    """A reader who was read whole, or who need not be stored."""
    return Addressee._make(getattr(reader, field) for field in Addressee._fields)


def addressees(session: Session, reader_ids: Iterable[int]) -> dict[int, Addressee]:
    """The readers of these ids who are there. As rows: the mapper takes as long over a reader as composing does."""
    found = session.execute(select(*_COLUMNS).where(Reader.id == func.any(list(reader_ids))))
    return {row.id: Addressee._make(row) for row in found}
