"""The rows of the outbox: put in, claim, settle, sweep. Rules in ``states``."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import TextClause, func, select, text, update
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState
from service.outbox.claims import Claim, Outcome
from service.outbox.digest_pause import NOT_HELD_BACK
from service.outbox.kinds import DIGESTS
from service.outbox.states import WAITING

PRIORITY: Final = {kind: 5 if kind in DIGESTS else 0 for kind in DeliveryKind}
"""Smaller goes first: transactional mail overtakes digests."""
_ALPHABET: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_LETTERS_OF_CHANCE: Final = 32

# Reads ix_delivery_due of each month from its beginning; SKIP LOCKED passes over what another sender is claiming at
# this moment. The
# smallest and the largest id say in which months the rows are: the others are not looked at again (decision 036).
CLAIM = text(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM delivery
        WHERE state IN ('queued', 'deferred') AND due_at <= :now AND (deadline IS NULL OR deadline > :now)
            AND {NOT_HELD_BACK}
        ORDER BY priority, due_at, id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE delivery SET state = 'sending', lease_owner = :owner, lease_until = :until, attempts = attempts + 1
    WHERE id = ANY(ARRAY(SELECT id FROM due))
        AND id >= (SELECT min(id) FROM due) AND id <= (SELECT max(id) FROM due)
    RETURNING id, kind, reader_id, digest_id, message_id, attempts, deadline, priority, due_at
""")  # noqa: S608 (constants)

UNANSWERED_LIMIT: Final = 4
"""Times that a message may leave without an answer."""

DUE = text(f"""
    SELECT count(*) FROM (
        SELECT FROM delivery
        WHERE state IN ('queued', 'deferred') AND due_at <= :now AND (deadline IS NULL OR deadline > :now)
            AND {NOT_HELD_BACK}
        LIMIT :limit
    ) AS found
""")  # noqa: S608 (constants)

# By primary key, in the months of the ids. A row counts only while it is ours, but what the relay
# accepted is sent, whoever holds the row. A released row (queued) gives its attempt back. What is given up undelivered
# is carried over in the same statement; what was only sent again is not.
SETTLE = text("""
    WITH settled AS (UPDATE delivery SET
        state = outcome.state, reply = outcome.reply, lease_owner = NULL, lease_until = NULL,
        due_at = coalesce(outcome.retry_at, due_at),
        attempts = attempts - (outcome.state = 'queued')::int,
        unanswered = unanswered + (outcome.state = 'uncertain')::int,
        settled_at = CASE WHEN outcome.state IN ('sent', 'failed', 'cancelled', 'uncertain') THEN :now END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:replies AS text[]),
                CAST(:retries AS timestamptz[]), CAST(:carried AS boolean[]))
        AS outcome (id, state, reply, retry_at, carried)
    WHERE delivery.id = outcome.id AND delivery.id BETWEEN :first AND :last AND (
        (delivery.state = 'sending' AND delivery.lease_owner = :owner)
        OR (outcome.state = 'sent' AND delivery.state <> 'sent')
    ) RETURNING delivery.digest_id, delivery.reader_id,
        outcome.carried AND delivery.unanswered = 0 AND delivery.kind = 'digest' AS carried
    ), carried AS (
        INSERT INTO carried_over (digest_id, reader_id)
        SELECT digest_id, reader_id FROM settled WHERE carried AND digest_id IS NOT NULL
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM settled
""")

# What a dead sender's journal tells. By primary key: accepted is sent, whoever holds the row by now. A row made after
# the journal's last line is another database's, whose numbers began again.
INHERIT_SENT = text("""
    UPDATE delivery SET
        state = 'sent', reply = told.reply, lease_owner = NULL, lease_until = NULL, settled_at = :now
    FROM unnest(CAST(:ids AS bigint[]), CAST(:replies AS text[])) AS told (id, reply)
    WHERE delivery.id = told.id AND delivery.id BETWEEN :first AND :last AND delivery.state <> 'sent' AND (
        (delivery.state = 'sending' AND delivery.lease_owner = :owner) OR delivery.created_at <= :written_at
    )
""")
# That its sender died is not the relay's doing: it is repeated at once, however often that happens.
INHERIT_BEGUN = text("""
    UPDATE delivery SET
        state = 'uncertain', reply = 'sent, but its sender was lost before an answer came',
        unanswered = greatest(unanswered, 1),
        lease_owner = NULL, lease_until = NULL, settled_at = :now
    WHERE id = ANY(:ids) AND id BETWEEN :first AND :last AND state = 'sending' AND lease_owner = :owner
""")
# Reads ix_delivery_leased. What never left gives its attempt back.
INHERIT_REST = text("""
    UPDATE delivery SET
        state = 'queued', reply = 'the sender was lost', lease_owner = NULL, lease_until = NULL, attempts = attempts - 1
    WHERE state = 'sending' AND lease_owner = :owner
""")

# Reads ix_delivery_leased.
END_LEASES = text("""
    UPDATE delivery SET state = 'queued', lease_owner = NULL, lease_until = NULL, reply = 'the sender was lost'
    WHERE state = 'sending' AND lease_until < :now
""")

END_LATE = text("""
    WITH late AS (
        UPDATE delivery SET state = 'failed', settled_at = :now,
            reply = 'given up at its deadline' || coalesce('; last answer: ' || reply, '')
        WHERE state IN ('queued', 'deferred') AND deadline <= :now
        RETURNING digest_id, reader_id, unanswered, kind
    ), carried AS (
        INSERT INTO carried_over (digest_id, reader_id)
        SELECT digest_id, reader_id FROM late
        WHERE unanswered = 0 AND kind = 'digest' AND digest_id IS NOT NULL
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM late
""")

# The first time at once, for most often it was our sender that died; then ever later, and not for ever: a relay that
# takes a message and never says so would fill the reader's inbox.
REPEAT_UNCERTAIN = text("""
    UPDATE delivery SET
        state = CASE WHEN unanswered < :most THEN 'queued' ELSE 'failed' END,
        settled_at = CASE WHEN unanswered >= :most THEN :now END,
        reply = CASE WHEN unanswered < :most THEN reply ELSE 'not repeated again, the relay may have it; ' || reply END,
        due_at = CASE WHEN unanswered > 1
            THEN greatest(due_at, :now + interval '2 minutes' * 2 ^ (unanswered - 1) * (0.5 + random() / 2))
            ELSE due_at END
    WHERE state = 'uncertain'
""")
DROP_UNCERTAIN = text("""
    UPDATE delivery SET state = 'failed', reply = 'not repeated, the relay may have it' || coalesce('; ' || reply, '')
    WHERE state = 'uncertain'
""")

# By an operator's hand, with the site's rights; each reads the partial index of its rows. The lease of a row that is
# released stays written there, which nobody reads in a queued row.
RELEASE = text("""
    UPDATE delivery SET state = 'queued', reply = 'released by an operator'
    WHERE state = 'sending' AND lease_until < :now
""")
RETRY_NOW = text("""
    UPDATE delivery SET due_at = :now WHERE id IN (
        SELECT id FROM delivery WHERE state = 'deferred' AND due_at > :now LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")
CALL_SENT = text("""
    UPDATE delivery SET state = 'sent', settled_at = :now, reply = 'called sent by an operator; ' || coalesce(reply, '')
    WHERE state = 'uncertain'
""")
REPEAT_NOW = text("UPDATE delivery SET state = 'queued', settled_at = NULL, due_at = :now WHERE state = 'uncertain'")


@dataclass(frozen=True, slots=True)
class Inherited:
    """How many rows of dead senders were put right."""

    sent: int = 0
    uncertain: int = 0
    queued: int = 0


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
    return bytes(message_ids(domain, 1)[0]).decode()


def message_ids(domain: str, count: int) -> NDArray[np.bytes_]:
    """``count`` new Message-IDs, as a column: 160 bits of chance each, five to a letter."""
    end = np.frombuffer(f"@{domain}".encode(), np.uint8)
    made = np.empty((count, _LETTERS_OF_CHANCE + len(end)), np.uint8)
    chance = np.frombuffer(secrets.token_bytes(_LETTERS_OF_CHANCE * count), np.uint8)
    made[:, :_LETTERS_OF_CHANCE] = _ALPHABET[chance & 31].reshape(count, _LETTERS_OF_CHANCE)
    made[:, _LETTERS_OF_CHANCE:] = end
    return made.view(f"S{made.shape[1]}").ravel()


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
    """Put one message in, as part of the caller's transaction: no reader without their mail, no mail without reader.

    A digest's first delivery has its digest's id, so that there is one.
    """
    delivery = Delivery(
        kind=kind,
        priority=PRIORITY[kind],
        reader_id=reader_id,
        digest_id=digest_id,
        message_id=message_id(mail_domain),
        due_at=due_at or datetime.now(UTC),
        deadline=deadline,
    )
    if kind is DeliveryKind.DIGEST and digest_id is not None:
        delivery.id = digest_id
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
        "first": outcomes[0].delivery_id,
        "last": outcomes[-1].delivery_id,
        "states": [outcome.state.value for outcome in outcomes],
        "replies": [outcome.reply for outcome in outcomes],
        "retries": [outcome.retry_at for outcome in outcomes],
        "carried": [outcome.carried_over for outcome in outcomes],
    }
    with database.connection() as connection:
        return int(connection.scalar(SETTLE, values) or 0)


def inherit(
    database: Database,
    *,
    owner: str,
    accepted: Mapping[int, str],
    begun: Collection[int],
    written_at: datetime,
    now: datetime | None = None,
) -> Inherited:
    """Record what a dead ``owner``'s journal tells, in one transaction; doing it again changes nothing.

    ``accepted`` (with the relay's answers) is sent; of ``begun`` the relay may have each or not; whatever else the
    owner held was never begun and goes back to the queue. ``written_at``: when the journal's last line was written.
    """
    values = {"owner": owner, "now": now or datetime.now(UTC)}
    told = _ids(accepted) | {"replies": [accepted[each] for each in sorted(accepted)], "written_at": written_at}
    with database.connection() as connection:
        sent = connection.execute(INHERIT_SENT, values | told).rowcount
        uncertain = connection.execute(INHERIT_BEGUN, values | _ids(begun)).rowcount
        queued = connection.execute(INHERIT_REST, {"owner": owner}).rowcount
    return Inherited(sent, uncertain, queued)


def _ids(of: Collection[int]) -> dict[str, object]:
    """In order, with the first and the last, which say in which months they are."""
    return {"ids": sorted(of), "first": min(of, default=0), "last": max(of, default=0)}


def due(database: Database, *, limit: int, now: datetime | None = None) -> int:
    """How many rows :func:`claim` would find, counted up to ``limit``. Reads ix_delivery_due."""
    with database.connection() as connection:
        return int(connection.scalar(DUE, {"now": now or datetime.now(UTC), "limit": limit}) or 0)


def release(session: Session, *, now: datetime | None = None) -> int:
    """Give back what lost senders held, in the caller's transaction, as :func:`sweep` does; how many rows."""
    return _changed(session, RELEASE, {"now": now or datetime.now(UTC)})


def retry_now(session: Session, *, limit: int, now: datetime | None = None) -> int:
    """Make up to ``limit`` deferred rows due at once, in the caller's transaction; how many. Attempts stay counted."""
    return _changed(session, RETRY_NOW, {"now": now or datetime.now(UTC), "limit": limit})


def decide_uncertain(session: Session, *, sent: bool, now: datetime | None = None) -> int:
    """Call all uncertain rows sent, or repeat them under their Message-IDs, in the caller's transaction; how many."""
    return _changed(session, CALL_SENT if sent else REPEAT_NOW, {"now": now or datetime.now(UTC)})


def _changed(session: Session, statement: TextClause, values: Mapping[str, object]) -> int:
    return session.execute(statement, values).rowcount  # type: ignore[attr-defined,no-any-return]  # an UPDATE's


def sweep(
    database: Database, *, now: datetime | None = None, uncertain: Literal["repeat", "drop", "ask"] = "repeat"
) -> SweepReport:
    """Find what dead senders and lost rings left behind. Each step stands alone; any number may run at once.

    ``uncertain``: "ask" leaves those rows to an operator (:func:`decide_uncertain`).
    """
    values = {"now": now or datetime.now(UTC)}
    with database.connection() as connection:
        released = connection.execute(END_LEASES, values).rowcount
    decided = 0
    if uncertain != "ask":
        with database.connection() as connection:
            statement = REPEAT_UNCERTAIN if uncertain == "repeat" else DROP_UNCERTAIN
            decided = connection.execute(statement, values | {"most": UNANSWERED_LIMIT}).rowcount
    with database.connection() as connection:
        late = int(connection.scalar(END_LATE, values) or 0)
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
