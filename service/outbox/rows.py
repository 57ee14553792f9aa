"""The rows of the outbox: put in, claim, settle, sweep. Rules in ``states``."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState
from service.outbox.claims import Claim, Outcome
from service.outbox.states import WAITING

PRIORITY: Final = {kind: 5 if kind is DeliveryKind.DIGEST else 0 for kind in DeliveryKind}
"""Smaller goes first: transactional mail overtakes digests."""

# Reads ix_delivery_due from its beginning; SKIP LOCKED passes over what another sender is claiming at this moment.
CLAIM = text("""
    UPDATE delivery SET state = 'sending', lease_owner = :owner, lease_until = :until, attempts = attempts + 1
    WHERE id IN (
        SELECT id FROM delivery
        WHERE state IN ('queued', 'deferred') AND due_at <= :now AND (deadline IS NULL OR deadline > :now)
        ORDER BY priority, due_at, id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, kind, reader_id, digest_id, message_id, attempts, deadline, priority, due_at
""")

# By primary key. A row counts only while it is ours, but what the relay accepted is sent, whoever holds the row.
# A released row (queued) gives its attempt back.
SETTLE = text("""
    UPDATE delivery SET
        state = outcome.state, reply = outcome.reply, lease_owner = NULL, lease_until = NULL,
        due_at = coalesce(outcome.retry_at, due_at),
        attempts = attempts - (outcome.state = 'queued')::int,
        settled_at = CASE WHEN outcome.state IN ('sent', 'failed', 'cancelled', 'uncertain') THEN :now END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:replies AS text[]),
                CAST(:retries AS timestamptz[])) AS outcome (id, state, reply, retry_at)
    WHERE delivery.id = outcome.id AND (
        (delivery.state = 'sending' AND delivery.lease_owner = :owner)
        OR (outcome.state = 'sent' AND delivery.state <> 'sent')
    )
""")

# Reads ix_delivery_leased.
END_LEASES = text("""
    UPDATE delivery SET state = 'queued', lease_owner = NULL, lease_until = NULL, reply = 'the sender was lost'
    WHERE state = 'sending' AND lease_until < :now
""")

END_LATE = text("""
    UPDATE delivery SET state = 'failed', settled_at = :now,
        reply = 'given up at its deadline' || coalesce('; last answer: ' || reply, '')
    WHERE state IN ('queued', 'deferred') AND deadline <= :now
""")

REPEAT_UNCERTAIN = text("UPDATE delivery SET state = 'queued', settled_at = NULL WHERE state = 'uncertain'")
DROP_UNCERTAIN = text("""
    UPDATE delivery SET state = 'failed', reply = 'not repeated, the relay may have it' || coalesce('; ' || reply, '')
    WHERE state = 'uncertain'
""")


@dataclass(frozen=True, slots=True)
class SweepReport:
    """How many rows one sweep moved."""

    released: int
    """Leases that had run out: back in the queue."""
    late: int
    """Past their deadline: failed."""
    uncertain: int
    """Repeated or dropped, as the setting says."""


def message_id(domain: str) -> str:
    """A new Message-ID (RFC 5322, 3.6.4) without its angle brackets: 160 random bits at our domain."""
    return message_ids(domain, 1)[0]


def message_ids(domain: str, count: int) -> list[str]:
    """``count`` new Message-IDs."""
    noise = secrets.token_bytes(20 * count)
    # 20 bytes make 32 letters without padding.
    letters = base64.b32encode(noise).decode("ascii").lower()
    return [f"{letters[start : start + 32]}@{domain}" for start in range(0, 32 * count, 32)]


def enqueue(
    session: Session,
    *,
    kind: DeliveryKind,
    reader_id: int,
    mail_domain: str,
    digest_id: int | None = None,
    due_at: datetime | None = None,
    deadline: datetime | None = None,
) -> int:
    """Put one message in, as part of the caller's transaction: no reader without their mail, no mail without reader."""
    delivery = Delivery(
        kind=kind,
        priority=PRIORITY[kind],
        reader_id=reader_id,
        digest_id=digest_id,
        message_id=message_id(mail_domain),
        due_at=due_at or datetime.now(UTC),
        deadline=deadline,
    )
    session.add(delivery)
    session.flush()
    return delivery.id


def claim(database: Database, *, owner: str, limit: int, lease: timedelta, now: datetime | None = None) -> list[Claim]:
    """Lease up to ``limit`` due rows to ``owner``; no row is ever leased to two.

    1. One UPDATE marks the rows, counts the attempt, and returns them. A crash before its commit: nothing happened.
    2. A crash after: the rows stay ``sending`` until the lease ends, then :func:`sweep` puts them back.
    """
    moment = now or datetime.now(UTC)
    values = {"owner": owner, "until": moment + lease, "now": moment, "limit": limit}
    with database.connection() as connection:
        rows = connection.execute(CLAIM, values).all()
    rows = sorted(rows, key=lambda row: (row.priority, row.due_at, row.id))
    return [
        Claim(
            delivery_id=row.id,
            kind=DeliveryKind(row.kind),
            reader_id=row.reader_id,
            digest_id=row.digest_id,
            message_id=row.message_id,
            attempts=row.attempts - 1,
            deadline=row.deadline,
        )
        for row in rows
    ]


def settle(database: Database, owner: str, outcomes: Sequence[Outcome], *, now: datetime | None = None) -> int:
    """Record how tries ended, in one statement; return how many rows took it.

    A row whose lease was lost meanwhile is left to its new holder, unless it was sent. An outcome QUEUED releases the
    row without counting the try. A crash before the commit: the lease ends and the sweep puts the rows back.
    """
    if not outcomes:
        return 0
    # In one order everywhere, so that two settlers cannot wait for each other.
    outcomes = sorted(outcomes, key=lambda outcome: outcome.delivery_id)
    values = {
        "owner": owner,
        "now": now or datetime.now(UTC),
        "ids": [outcome.delivery_id for outcome in outcomes],
        "states": [outcome.state.value for outcome in outcomes],
        "replies": [outcome.reply for outcome in outcomes],
        "retries": [outcome.retry_at for outcome in outcomes],
    }
    with database.connection() as connection:
        return connection.execute(SETTLE, values).rowcount


def sweep(
    database: Database, *, now: datetime | None = None, uncertain: Literal["repeat", "drop"] = "repeat"
) -> SweepReport:
    """Find what dead senders and lost rings left behind. Each step stands alone; any number may run at once."""
    values = {"now": now or datetime.now(UTC)}
    with database.connection() as connection:
        released = connection.execute(END_LEASES, values).rowcount
    with database.connection() as connection:
        decided = connection.execute(REPEAT_UNCERTAIN if uncertain == "repeat" else DROP_UNCERTAIN).rowcount
    with database.connection() as connection:
        late = connection.execute(END_LATE, values).rowcount
    return SweepReport(released=released, late=late, uncertain=decided)


def cancel_for_reader(
    session: Session,
    reader_id: int,
    reason: str,
    *,
    kinds: Iterable[DeliveryKind] = DeliveryKind,
    now: datetime | None = None,
) -> int:
    """Cancel what waits for a reader, in the caller's transaction. What is being sent is stopped by the sender."""
    statement = (
        update(Delivery)
        .where(Delivery.reader_id == reader_id, Delivery.state.in_(WAITING), Delivery.kind.in_(list(kinds)))
        .values(state=DeliveryState.CANCELLED, reply=reason, settled_at=now or datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).rowcount  # type: ignore[attr-defined,no-any-return]  # CursorResult of an UPDATE


def counts(session: Session) -> dict[DeliveryState, int]:
    """Deliveries by state."""
    found = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
    return {DeliveryState(state): number for state, number in found}
