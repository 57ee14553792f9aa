"""The operators' pause of all digests: none leaves until it is ended; confirmations and other transactional mail does.

Kept in the tables, so that all senders keep it: ``rows.claim`` passes over digests while it stands, and the last look
before the wire gives those back that were claimed before (at most one portion is on its way already). Nothing is lost:
a digest that comes to its deadline meanwhile is given up, and what was in it comes with its reader's next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import DigestPause

NOT_HELD_BACK: Final = "priority <= (SELECT CASE WHEN EXISTS (SELECT FROM digest_pause) THEN 4 ELSE 9 END)"
"""SQL, of deliveries. Digests have priority 5, so that ix_delivery_due passes over them, not row by row."""


@dataclass(frozen=True, slots=True)
class AllPaused:
    """Since when no digest leaves, and by whose wish."""

    since: datetime
    operator_id: int


def current(session: Session) -> AllPaused | None:
    """The pause that stands; None where digests go."""
    row = session.execute(select(DigestPause.since, DigestPause.operator_id)).one_or_none()
    return AllPaused(*row) if row is not None else None


def begin(session: Session, operator_id: int, *, now: datetime | None = None) -> bool:
    """Stop all digests, in the caller's transaction; False, and nothing changed, where they are stopped."""
    statement = insert(DigestPause).values(id=1, since=now or datetime.now(UTC), operator_id=operator_id)
    return session.scalar(statement.on_conflict_do_nothing().returning(DigestPause.id)) is not None


def end(session: Session) -> bool:
    """Let them go; False where they were going."""
    return session.scalar(delete(DigestPause).returning(DigestPause.id)) is not None
