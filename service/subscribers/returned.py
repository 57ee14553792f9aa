"""What came back, and what becomes of its reader. One rule, whatever door it came through.

=============  ==========================================================================================
hard bounce    the address is suppressed at once; its reader must confirm anew
soft bounce    the same, after ``soft_bounce_limit`` of them on ``soft_bounce_days`` different days without
               a delivery between that did not come back
refusal        recorded and logged: it is our message or our name that is not wanted
complaint      the reader is unsubscribed and the address suppressed; only an operator lifts that
unsubscribe    the reader is unsubscribed
=============  ==========================================================================================

Mail to an operator (a link to sign in, a test mail) has no reader behind it: what comes back for it is recorded by the
address alone, a hard bounce or a complaint suppresses the address, and the dashboard and the doctor tell (``latest``).

A bounce of a mail older than the reader's confirmation is recorded and changes nothing: they have read mail since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import (
    Delivery,
    DeliveryKind,
    DeliveryState,
    Letter,
    Reader,
    ReaderState,
    ReturnEvent,
    ReturnKind,
    SuppressionReason,
)
from service.outbox import letters, rows
from service.settings import Settings
from service.subscribers import accounts, addresses, status_codes, suppression
from service.subscribers.addresses import AddressError
from service.subscribers.consent import Visit

log = structlog.get_logger(__name__)

LONGEST_DIAGNOSTIC: Final = 300
_TO_OPERATORS: Final = (DeliveryKind.OPERATOR_LINK, DeliveryKind.TEST)
_ADDRESS = re.compile(r"[^\s<>()\[\]:;,\"'=]*@[^\s<>()\[\]:;,\"']*")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")

# Reads ix_return_event_address_hash and ix_delivery_reader_id. "Delivered": sent before the mail that now bounced, and
# nothing came back for it. What was sent after may still be on its way back. Ids grow with time, but for what was
# planned in another month than its slot's.
_SOFT = text("""
    WITH delivered AS (
        SELECT coalesce(max(delivery.id), 0) AS id FROM delivery
        WHERE delivery.reader_id = :reader AND delivery.state = 'sent' AND delivery.id < :delivery
            AND NOT EXISTS (SELECT FROM return_event WHERE return_event.reader_id = :reader
                            AND return_event.delivery_id = delivery.id)
    )
    SELECT count(*), count(DISTINCT (return_event.at AT TIME ZONE 'UTC')::date)
    FROM return_event, delivered
    WHERE return_event.address_hash = :hash AND return_event.kind = 'soft bounce'
        AND return_event.delivery_id > delivered.id AND return_event.at > :confirmed
""")


@dataclass(frozen=True, slots=True)
class Return:
    """Something that came back. Who it is about: a delivery, else a reader, else an address."""

    kind: ReturnKind
    source: str
    """The door it came through."""
    key: str
    """Which event this is: the same one twice, by whatever door, has the same key."""
    delivery_id: int | None = None
    reader_id: int | None = None
    email: str | None = None
    message_id: str | None = None
    """Of the mail that went out, without angle brackets."""
    unsigned: bool = False
    """Said by somebody who proves nothing: believed only with the Message-ID (160 random bits) of a mail there."""
    code: str = ""
    diagnostic: str = ""


class Taken(StrEnum):
    """What became of a :class:`Return`."""

    RECORDED = "recorded"
    SUPPRESSED = "suppressed"
    UNSUBSCRIBED = "unsubscribed"
    KNOWN = "known"
    """Taken before."""
    STRANGER = "stranger"
    """About nobody that we know: nothing is recorded."""


@dataclass(frozen=True, slots=True)
class ReturnView:
    """A recorded event."""

    at: datetime
    kind: ReturnKind
    code: str
    diagnostic: str
    source: str
    delivery_id: int | None


def take(session: Session, settings: Settings, event: Return, *, now: datetime | None = None) -> Taken:
    """Record an event and do what the rule says, in the caller's transaction: both or neither.

    1. Find the reader and hold them, so that two events of one reader are counted one after the other.
    2. Append the event. A key that is there already: taken before, and nothing more happens.
    3. Suppress, unsubscribe, cancel what waits.
    """
    found = _resolve(session, event)
    if found is None:
        delivery = _to_operator(session, event)
        return _of_letter(session, settings, event, None, delivery, now) if delivery else Taken.STRANGER
    reader, delivery = found
    if delivery is not None and DeliveryKind(delivery.kind) in letters.KINDS:
        return _of_letter(session, settings, event, reader.id, delivery, now)
    address_hash = addresses.hashed(settings, reader.address_key)
    if not _append(session, event, reader.id, delivery.id if delivery else None, address_hash, now):
        return Taken.KNOWN
    log.info("returns.taken", kind=event.kind.value, code=event.code, source=event.source, reader=reader.id)
    match event.kind:
        case ReturnKind.COMPLAINT:
            suppression.add(session, address_hash, reason=SuppressionReason.COMPLAINT, detail=event.source)
            accounts.unsubscribe(session, settings, reader.id, Visit("complaint"))
            return Taken.UNSUBSCRIBED
        case ReturnKind.UNSUBSCRIBE:
            accounts.unsubscribe(session, settings, reader.id, Visit("mail"))
            return Taken.UNSUBSCRIBED
        case ReturnKind.HARD_BOUNCE if not _stale(reader, delivery):
            return _stop(session, reader, address_hash, SuppressionReason.HARD_BOUNCE, event.code)
        case ReturnKind.SOFT_BOUNCE if not _stale(reader, delivery) and _too_many(
            session, settings, reader, delivery, address_hash
        ):
            return _stop(session, reader, address_hash, SuppressionReason.SOFT_BOUNCES, event.code)
        case ReturnKind.REFUSAL:
            log.warning("returns.refused", code=event.code, source=event.source, delivery=event.delivery_id)
    return Taken.RECORDED


def refused_in_conversation(session: Session, settings: Settings, codes: Mapping[int, str]) -> None:
    """The relay itself refused these deliveries' addresses or mailboxes; the reply codes (``550 5.1.1``) by delivery.

    The same rule as for a bounce that comes later. May be repeated.
    """
    for delivery_id in sorted(codes):
        code = status_codes.found_in(codes[delivery_id])
        kind = status_codes.kind_of(code) if code else None
        if code is not None and kind is not None:
            key = f"smtp {delivery_id} {kind.value}"
            event = Return(kind, "smtp", key, delivery_id=delivery_id, code=code, diagnostic=codes[delivery_id])
            take(session, settings, event)


def lift(session: Session, settings: Settings, email: str, *, now: datetime | None = None) -> bool:
    """An operator lifts a suppression; whether there was one. A reader whom a bounce stopped is active again: they had
    confirmed, and never said otherwise. One who complained must subscribe anew. Raises AddressError."""
    address = addresses.parse(email)
    lifted = suppression.remove(session, addresses.hashed(settings, address.key))
    if lifted:
        accounts.resume(session, address.key, now=now)
    return lifted


def suppress(session: Session, settings: Settings, email: str, detail: str) -> None:
    """An operator bars an address; a reader of this address is unsubscribed. Raises AddressError."""
    address = addresses.parse(email)
    suppression.add(session, addresses.hashed(settings, address.key), reason=SuppressionReason.OPERATOR, detail=detail)
    reader_id = session.scalar(select(Reader.id).where(Reader.address_key == address.key))
    if reader_id is not None:
        accounts.unsubscribe(session, settings, reader_id, Visit("operator"))


def of(session: Session, reader_id: int, *, limit: int = 20) -> list[ReturnView]:
    """What came back for a reader, newest first."""
    statement = (
        select(ReturnEvent)
        .where(ReturnEvent.reader_id == reader_id)
        .order_by(ReturnEvent.at.desc(), ReturnEvent.id.desc())
        .limit(limit)
    )
    return [_view(each) for each in session.scalars(statement)]


def latest(session: Session, address_hashes: Sequence[bytes], since: datetime) -> dict[bytes, ReturnView]:
    """By address without a reader (operators'), the last thing that came back since a moment. Reads
    ix_return_event_reader_id, where few are without a reader."""
    statement = (
        select(ReturnEvent)
        .where(
            ReturnEvent.reader_id.is_(None),
            ReturnEvent.at >= since,
            ReturnEvent.address_hash.in_(address_hashes),
            ReturnEvent.kind != ReturnKind.SUBSCRIBE,
        )
        .order_by(ReturnEvent.at, ReturnEvent.id)
    )
    return {each.address_hash: _view(each) for each in session.scalars(statement)}


def counts(session: Session, since: datetime) -> dict[ReturnKind, int]:
    """Events by kind since a moment. Many refusals mean that our name is bad somewhere."""
    found = session.execute(
        select(ReturnEvent.kind, func.count()).where(ReturnEvent.at >= since).group_by(ReturnEvent.kind)
    ).all()
    return {ReturnKind(kind): number for kind, number in found}


def anonymous(diagnostic: str) -> str:
    """A diagnostic fit for the record: one printable line without addresses, cut to length."""
    line = " ".join(_UNPRINTABLE.sub(" ", _ADDRESS.sub("(address)", diagnostic)).split())
    return line if len(line) <= LONGEST_DIAGNOSTIC else line[: LONGEST_DIAGNOSTIC - 3] + "..."


def key_of(*parts: str) -> bytes:
    """What the parts, in their order, are known by."""
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).digest()


def _view(event: ReturnEvent) -> ReturnView:
    return ReturnView(event.at, ReturnKind(event.kind), event.code, event.diagnostic, event.source, event.delivery_id)


def _resolve(session: Session, event: Return) -> tuple[Reader, Delivery | None] | None:
    delivery = session.get(Delivery, event.delivery_id) if event.delivery_id is not None else None
    if event.delivery_id is not None:
        reader_id = delivery.reader_id if delivery else None
    elif event.reader_id is not None:
        reader_id = event.reader_id
    else:
        reader_id = _by_address(session, event.email or "")
    reader = session.get(Reader, reader_id, with_for_update=True) if reader_id is not None else None
    if reader is None:
        return None
    if delivery is None:
        delivery = _by_message_id(session, reader.id, event.message_id)
        if delivery is None and event.unsigned:
            return None
        # A provider tells the address alone: then it speaks of the last mail that went there.
        delivery = delivery or _last_sent(session, reader.id)
    return reader, delivery


def _of_letter(
    session: Session, settings: Settings, event: Return, reader_id: int | None, delivery: Delivery, now: datetime | None
) -> Taken:
    """What came back went to an address that is not a reader's: it alone is suppressed, any reader is left alone."""
    letter = letters.of(session, [delivery.id]).get(delivery.id)
    if letter is None:
        return Taken.STRANGER
    address_hash = addresses.hashed(settings, letter.address_key)
    if not _append(session, event, reader_id, delivery.id, address_hash, now):
        return Taken.KNOWN
    log.info("returns.taken", kind=event.kind.value, code=event.code, source=event.source, delivery=delivery.id)
    reasons = {
        ReturnKind.HARD_BOUNCE: SuppressionReason.HARD_BOUNCE,
        ReturnKind.COMPLAINT: SuppressionReason.COMPLAINT,
    }
    if event.kind not in reasons:
        return Taken.RECORDED
    suppression.add(session, address_hash, reason=reasons[event.kind], detail=event.code or event.source)
    return Taken.SUPPRESSED


def _to_operator(session: Session, event: Return) -> Delivery | None:
    """The delivery to an operator that an event about no reader is about; None: about nobody that we know.

    One that names only the address speaks of the last mail there, as for readers; its letter stands for a week.
    """
    if event.delivery_id is not None:
        delivery = session.get(Delivery, event.delivery_id)
        return delivery if delivery is not None and delivery.kind in _TO_OPERATORS else None
    if event.reader_id is not None or event.email is None:
        return None
    try:
        key = addresses.parse(event.email).key
    except AddressError:
        return None
    statement = (
        select(Delivery)
        .join(Letter, Letter.delivery_id == Delivery.id)
        .where(Letter.address_key == key, Delivery.kind.in_(_TO_OPERATORS), Delivery.state == DeliveryState.SENT)
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    if event.unsigned:
        statement = statement.where(Delivery.message_id == event.message_id)
    return session.scalar(statement)


def _by_address(session: Session, email: str) -> int | None:
    try:
        key = addresses.parse(email).key
    except AddressError:
        return None
    return session.scalar(select(Reader.id).where(Reader.address_key == key))


def _by_message_id(session: Session, reader_id: int, message_id: str | None) -> Delivery | None:
    if not message_id:
        return None
    return session.scalar(select(Delivery).where(Delivery.reader_id == reader_id, Delivery.message_id == message_id))


def _last_sent(session: Session, reader_id: int) -> Delivery | None:
    statement = select(Delivery).where(Delivery.reader_id == reader_id, Delivery.state == DeliveryState.SENT)
    return session.scalar(statement.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(1))


def _append(
    session: Session,
    event: Return,
    reader_id: int | None,
    delivery_id: int | None,
    address_hash: bytes,
    now: datetime | None,
) -> bool:
    values: dict[str, object] = {
        "key": key_of(event.key),
        "kind": event.kind.value,
        "address_hash": address_hash,
        "reader_id": reader_id,
        "delivery_id": delivery_id,
        "code": event.code,
        "diagnostic": anonymous(event.diagnostic),
        "source": event.source,
    }
    if now is not None:
        values["at"] = now
    statement = insert(ReturnEvent).values(values).on_conflict_do_nothing().returning(ReturnEvent.id)
    return session.scalar(statement) is not None


def _stale(reader: Reader, delivery: Delivery | None) -> bool:
    return delivery is not None and reader.confirmed_at is not None and delivery.created_at < reader.confirmed_at


def _too_many(
    session: Session, settings: Settings, reader: Reader, delivery: Delivery | None, address_hash: bytes
) -> bool:
    values = {
        "reader": reader.id,
        "delivery": delivery.id if delivery else 0,
        "hash": address_hash,
        "confirmed": reader.confirmed_at or reader.created_at,
    }
    number, days = session.execute(_SOFT, values).one()
    return bool(number >= settings.soft_bounce_limit and days >= settings.soft_bounce_days)


def _stop(session: Session, reader: Reader, address_hash: bytes, reason: SuppressionReason, code: str) -> Taken:
    """Suppress, and take the reader out of the rounds: their confirmation does not hold for an address that is gone.
    ``confirmed_at`` stays, so that an operator who lifts a mistake can put them back."""
    suppression.add(session, address_hash, reason=reason, detail=code)
    if reader.state == ReaderState.ACTIVE:
        reader.state = ReaderState.PENDING
        reader.next_digest_at = None
        session.flush()
    rows.cancel_for_reader(session, reader.id, "the address is suppressed")
    return Taken.SUPPRESSED
