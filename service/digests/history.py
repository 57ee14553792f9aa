"""The digests that one reader got."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import Digest

MOST: Final = 400


@dataclass(frozen=True, slots=True)
class PastDigest:
    """A digest in a list: how many papers it brought."""

    id: int
    slot: datetime
    papers: int


def of(session: Session, reader_id: int, *, limit: int = MOST) -> list[PastDigest]:
    """The newest first. Reads the unique index of (reader, slot) of each month."""
    statement = (
        select(Digest.id, Digest.slot, func.cardinality(Digest.paper_ids))
        .where(Digest.reader_id == reader_id)
        .order_by(Digest.slot.desc())
        .limit(limit)
    )
    return [PastDigest(*row) for row in session.execute(statement)]
