"""Holidays: a pause that is over ends by itself, and its reader is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select

from service.database import Database
from service.database.tables import DeliveryKind, Reader, ReaderState
from service.outbox import rows
from service.settings import Settings
from service.subscribers import accounts

_CHUNK: Final = 1_000


def end_due(database: Database, settings: Settings, *, now: datetime | None = None) -> int:
    """End the pauses that are over; return how many.

    A chunk in one transaction: the pause is taken off, the reader passes over what came meanwhile but for the days that
    a first digest looks back, and the mail is queued for their hour. A crash leaves a chunk paused or not, never told
    twice. Any number may run at once. Reads ix_reader_paused.
    """
    moment = now or datetime.now(UTC)
    ended = 0
    over = select(Reader).where(Reader.paused_until <= moment).order_by(Reader.paused_until).limit(_CHUNK)
    while True:
        with database.transaction() as session:
            found = session.scalars(over.with_for_update(skip_locked=True)).all()
            for reader in found:
                accounts.end_pause(session, settings, reader, moment)
                if reader.state == ReaderState.ACTIVE and reader.next_digest_at is not None:
                    due_at = max(reader.next_digest_at, moment)
                    rows.enqueue(
                        session,
                        kind=DeliveryKind.PAUSE_ENDED,
                        reader_id=reader.id,
                        mail_domain=settings.mail_domain,
                        due_at=due_at,
                        deadline=due_at + accounts.CONFIRM_DEADLINE,
                    )
        ended += len(found)
        if len(found) < _CHUNK:
            return ended
