"""Mails whose addressee is not, or no longer, a reader's address: what they need stands beside their delivery.

A letter is written in the transaction that enqueues its delivery: no mail without its addressee. It is dropped after
the delivery is settled: a goodbye's or a test mail's at the next housekeeping, with the delivery itself, so that
nothing of a deleted reader, or of one looked at, stays; others after a week, since a bounce must still find the address
it speaks of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import DeliveryKind, Letter
from service.outbox import rows

KINDS: Final = frozenset(
    {
        DeliveryKind.ADDRESS_CONFIRM,
        DeliveryKind.ADDRESS_NOTICE,
        DeliveryKind.GOODBYE,
        DeliveryKind.OPERATOR_LINK,
        DeliveryKind.TEST,
    }
)
"""Deliveries that have a letter."""
READERLESS: Final = frozenset({DeliveryKind.GOODBYE, DeliveryKind.OPERATOR_LINK, DeliveryKind.TEST})
"""Of these, those that go out though no reader stands behind them."""
NO_READER: Final = 0
"""In ``delivery.reader_id`` where there never was one."""
PATIENCE: Final = timedelta(days=1)
"""A letter that the relay will not take for so long is given up."""
KEPT: Final = timedelta(days=7)

# Letters are few. Each looks at its own delivery, which a subquery of one value does in its month alone; a join might
# read the deliveries of all months.
_PRUNE_AT_ONCE: Final = text("""
    WITH settled AS MATERIALIZED (
        DELETE FROM letter WHERE (
            SELECT delivery.kind IN ('goodbye', 'test') AND delivery.state IN ('sent', 'failed', 'cancelled')
            FROM delivery WHERE delivery.id = letter.delivery_id
        ) RETURNING letter.delivery_id
    )
    DELETE FROM delivery WHERE id = ANY(ARRAY(SELECT delivery_id FROM settled))
        AND id >= (SELECT min(delivery_id) FROM settled) AND id <= (SELECT max(delivery_id) FROM settled)
""")
_PRUNE_OTHERS: Final = text("""
    DELETE FROM letter WHERE coalesce((
        SELECT coalesce(delivery.settled_at <= :since, false) FROM delivery WHERE delivery.id = letter.delivery_id
    ), true)
""")


@dataclass(frozen=True, slots=True)
class LetterView:
    """A letter as it stands."""

    email: str
    address_key: str
    language: str
    plain_text: bool
    facts: Mapping[str, Any]


def enqueue(
    session: Session,
    *,
    kind: DeliveryKind,
    reader_id: int,
    mail_domain: str,
    letter: LetterView,
    now: datetime,
    patience: timedelta = PATIENCE,
) -> int:
    """Put a letter and its delivery in, as part of the caller's transaction."""
    delivery_id = rows.enqueue(
        session, kind=kind, reader_id=reader_id, mail_domain=mail_domain, due_at=now, deadline=now + patience
    )
    session.add(
        Letter(
            delivery_id=delivery_id,
            email=letter.email,
            address_key=letter.address_key,
            language=letter.language,
            plain_text=letter.plain_text,
            facts=dict(letter.facts),
        )
    )
    session.flush()
    return delivery_id


def of(session: Session, delivery_ids: Iterable[int]) -> dict[int, LetterView]:
    """The letters of these deliveries, by delivery."""
    found = session.scalars(select(Letter).where(Letter.delivery_id == func.any(list(delivery_ids))))
    return {
        each.delivery_id: LetterView(each.email, each.address_key, each.language, each.plain_text, each.facts)
        for each in found
    }


def prune(database: Database, *, now: datetime | None = None) -> None:
    """Drop what is settled. Any number may run at once."""
    moment = now or datetime.now(UTC)
    with database.connection() as connection:
        connection.execute(_PRUNE_AT_ONCE)
    with database.connection() as connection:
        connection.execute(_PRUNE_OTHERS, {"since": moment - KEPT})
