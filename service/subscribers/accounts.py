"""Readers: subscribe, confirm, change, leave. Each act of consent is recorded in the transaction that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import (
    Delivery,
    DeliveryKind,
    DeliveryState,
    Digest,
    Edition,
    Interest,
    Reader,
    ReaderState,
)
from service.outbox import rows
from service.settings import Settings
from service.subscribers import addresses, consent, interests, schedule, suppression
from service.subscribers.consent import ConsentKind, Visit
from service.subscribers.interests import Wish

CONFIRM_PAUSE: Final = timedelta(days=1)
"""Between two confirmation mails to one address, whoever asks: a form must not become a mail bomb."""
SIGN_IN_PAUSE: Final = timedelta(hours=1)
SIGN_INS_A_DAY: Final = 3
CONFIRM_DEADLINE: Final = timedelta(days=3)
"""A confirmation that the relay will not take for so long is given up."""


class AccountError(Exception):
    """What cannot be done with a reader. One line: the thing and the remedy."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """When and how much."""

    hour: int = 7
    timezone: str = "UTC"
    weekdays: int = schedule.EVERY_DAY
    paper_limit: int | None = None
    """None: the installation's default."""


@dataclass(frozen=True, slots=True)
class Signup:
    """What a subscribe form, an operator or a file says."""

    email: str
    wishes: Sequence[Wish] = ()
    preferences: Preferences = field(default_factory=Preferences)
    visit: Visit = field(default_factory=lambda: Visit("unknown"))
    wording: str = consent.SUBSCRIBE_WORDING


@dataclass(frozen=True, slots=True)
class ReaderView:
    """A reader as they stand."""

    id: int
    email: str
    state: ReaderState
    timezone: str
    hour: int
    weekdays: int
    paper_limit: int
    language: str
    created_at: datetime
    confirmed_at: datetime | None
    next_digest_at: datetime | None


def subscribe(session: Session, settings: Settings, signup: Signup, *, now: datetime | None = None) -> int:
    """Enter a reader as pending and queue the confirmation mail; return their id.

    What the caller sees is the same whoever asks for whatever address:

    - unknown or unsubscribed: pending, with these interests, and a confirmation;
    - pending: these interests, and a confirmation unless one went out in the last day;
    - active: nothing changes (anybody could be asking); a mail with the preferences link, at most one an hour
      and three a day;
    - suppressed: nothing is queued, unless a bounce is a day old: then one confirmation tries the address again.

    Raises AddressError, QueryError, InterestError, ScheduleError; then nothing has changed.
    """
    moment = now or datetime.now(UTC)
    address = addresses.parse(signup.email)
    check(signup.preferences)
    reader = _locked(session, settings, address, signup.preferences)
    suppressed = not suppression.try_again(session, addresses.hashed(settings, address.key), now=moment)
    if reader.state == ReaderState.ACTIVE:
        if not suppressed:
            _send_sign_in(session, settings, reader.id, moment)
        return reader.id
    _prefer(reader, settings, signup.preferences)
    reader.state = ReaderState.PENDING
    reader.confirmed_at = None
    reader.next_digest_at = None
    session.flush()
    interests.replace(session, reader.id, signup.wishes)
    _record(session, settings, reader, ConsentKind.REQUESTED, signup.wording, signup.visit)
    if not suppressed and not _recently(session, reader.id, DeliveryKind.CONFIRM, moment - CONFIRM_PAUSE):
        _write_to(session, settings, reader.id, DeliveryKind.CONFIRM, moment)
    return reader.id


def sign_in(session: Session, settings: Settings, email: str, *, now: datetime | None = None) -> None:
    """Queue a mail with sign-in links if an active reader has this address; otherwise, and too often, do nothing.

    The caller learns nothing of which it was. Raises AddressError.
    """
    address = addresses.parse(email)
    found = select(Reader).where(Reader.address_key == address.key, Reader.state == ReaderState.ACTIVE)
    reader = session.scalar(found.with_for_update())
    if reader is not None and not suppression.contains(session, addresses.hashed(settings, address.key)):
        _send_sign_in(session, settings, reader.id, now or datetime.now(UTC))


def add_confirmed(session: Session, settings: Settings, signup: Signup, *, now: datetime | None = None) -> int:
    """Enter a reader whose consent the operator holds: active at once, no mail; a known one gets these interests."""
    address = addresses.parse(signup.email)
    check(signup.preferences)
    if not suppression.passed(session, addresses.hashed(settings, address.key)):
        raise AccountError(f"{address.email} is suppressed (bounce or complaint): it must not be mailed")
    reader = _locked(session, settings, address, signup.preferences)
    _prefer(reader, settings, signup.preferences)
    interests.replace(session, reader.id, signup.wishes)
    if reader.state == ReaderState.ACTIVE:
        _reschedule(reader, now or datetime.now(UTC))
    else:
        _activate(session, settings, reader, now or datetime.now(UTC))
    _record(session, settings, reader, ConsentKind.ENTERED, consent.OPERATOR_WORDING, signup.visit)
    return reader.id


def confirm(
    session: Session, settings: Settings, reader_id: int, visit: Visit, *, now: datetime | None = None
) -> ReaderView:
    """The reader said yes: active from now, the first digest due at their next slot. Twice is as good as once.

    Raises :class:`AccountError` for a reader who is gone, or has unsubscribed or bounced since: an old mail must not
    bring back what its reader, or the end of their address, ended.
    """
    reader = _known(session, reader_id)
    if reader.state == ReaderState.UNSUBSCRIBED:
        raise AccountError("this subscription was ended: subscribe again on the site")
    if reader.state == ReaderState.PENDING:
        if not suppression.passed(session, addresses.hashed(settings, reader.address_key)):
            raise AccountError("mail to this address came back: subscribe again on the site")
        _activate(session, settings, reader, now or datetime.now(UTC))
        _record(session, settings, reader, ConsentKind.CONFIRMED, consent.CONFIRM_WORDING, visit)
    return _view(reader)


def unsubscribe(session: Session, settings: Settings, reader_id: int, visit: Visit) -> None:
    """The reader is gone from the next round on; what waits for them is cancelled. Twice is as good as once."""
    reader = session.get(Reader, reader_id, with_for_update=True)
    if reader is None or reader.state == ReaderState.UNSUBSCRIBED:
        return
    reader.state = ReaderState.UNSUBSCRIBED
    reader.next_digest_at = None
    session.flush()
    rows.cancel_for_reader(session, reader_id, "unsubscribed")
    _record(session, settings, reader, ConsentKind.UNSUBSCRIBED, consent.UNSUBSCRIBE_WORDING, visit)


def resume(session: Session, address_key: str, *, now: datetime | None = None) -> None:
    """Put a reader back into the rounds whom a bounce took out; does nothing for one who never confirmed or left."""
    statement = select(Reader).where(
        Reader.address_key == address_key, Reader.state == ReaderState.PENDING, Reader.confirmed_at.is_not(None)
    )
    reader = session.scalar(statement.with_for_update())
    if reader is not None:
        reader.state = ReaderState.ACTIVE
        _reschedule(reader, now or datetime.now(UTC))
        session.flush()


def update(
    session: Session, reader_id: int, settings: Settings, preferences: Preferences, *, now: datetime | None = None
) -> ReaderView:
    """Change schedule and size. Raises ScheduleError, AccountError."""
    check(preferences)
    reader = _known(session, reader_id)
    _prefer(reader, settings, preferences)
    if reader.state == ReaderState.ACTIVE:
        _reschedule(reader, now or datetime.now(UTC))
    session.flush()
    return _view(reader)


def erase(session: Session, settings: Settings, reader_id: int, visit: Visit) -> None:
    """Delete a reader with interests, digests and deliveries. The record of consent stays, as a hash, and so does a
    suppression."""
    reader = _known(session, reader_id)
    _record(session, settings, reader, ConsentKind.DELETED, "", visit)
    session.execute(delete(Delivery).where(Delivery.reader_id == reader_id))
    session.execute(delete(Digest).where(Digest.reader_id == reader_id))
    session.execute(delete(Interest).where(Interest.reader_id == reader_id))
    session.execute(delete(Reader).where(Reader.id == reader_id))


def edition_before(session: Session, settings: Settings, now: datetime) -> int:
    """The last edition that somebody who becomes a reader now is not to get; 0 for none."""
    known_before = now - timedelta(days=settings.first_digest_days)
    return session.scalars(select(func.coalesce(func.max(Edition.id), 0)).where(Edition.cut_at < known_before)).one()


def get(session: Session, reader_id: int) -> ReaderView | None:
    reader = session.get(Reader, reader_id)
    return _view(reader) if reader else None


def find(session: Session, email: str) -> ReaderView | None:
    """The reader of an address, in any spelling. Raises AddressError."""
    reader = session.scalar(select(Reader).where(Reader.address_key == addresses.parse(email).key))
    return _view(reader) if reader else None


def listing(session: Session, *, after_id: int = 0, limit: int = 1_000) -> list[ReaderView]:
    """Readers in the order of their ids, a page at a time."""
    statement = select(Reader).where(Reader.id > after_id).order_by(Reader.id).limit(limit)
    return [_view(reader) for reader in session.scalars(statement)]


def count(session: Session) -> dict[ReaderState, int]:
    """Readers by state."""
    found = session.execute(select(Reader.state, func.count()).group_by(Reader.state)).all()
    return {ReaderState(state): number for state, number in found}


def check(preferences: Preferences) -> None:
    """Refuse what cannot be. Raises ScheduleError, AccountError."""
    schedule.check(preferences.timezone, preferences.hour, preferences.weekdays)
    if preferences.paper_limit is not None and not 1 <= preferences.paper_limit <= 50:
        raise AccountError(f"{preferences.paper_limit} papers in a mail are not possible: choose 1 to 50")


def _locked(session: Session, settings: Settings, address: addresses.Address, preferences: Preferences) -> Reader:
    """The address's reader, made if need be, held until the end of the transaction.

    The insert waits for another transaction that is entering the same address, so one address is one reader.
    """
    values = {
        "email": address.email,
        "address_key": address.key,
        "paper_limit": preferences.paper_limit or settings.paper_limit,
    }
    session.execute(insert(Reader).values(values).on_conflict_do_nothing(index_elements=[Reader.address_key]))
    return session.scalars(select(Reader).where(Reader.address_key == address.key).with_for_update()).one()


def _known(session: Session, reader_id: int) -> Reader:
    reader = session.get(Reader, reader_id, with_for_update=True)
    if reader is None:
        raise AccountError("this subscription does not exist any more: subscribe again on the site")
    return reader


def _prefer(reader: Reader, settings: Settings, preferences: Preferences) -> None:
    reader.digest_hour = preferences.hour
    reader.timezone = preferences.timezone
    reader.weekdays = preferences.weekdays
    reader.paper_limit = preferences.paper_limit or settings.paper_limit


def _activate(session: Session, settings: Settings, reader: Reader, now: datetime) -> None:
    reader.last_edition_id = max(edition_before(session, settings, now), reader.last_edition_id or 0)
    reader.state = ReaderState.ACTIVE
    reader.confirmed_at = now
    _reschedule(reader, now)
    session.flush()


def _reschedule(reader: Reader, now: datetime) -> None:
    reader.next_digest_at = schedule.next_slot(
        now, timezone=reader.timezone, hour=reader.digest_hour, weekdays=reader.weekdays
    )


def _send_sign_in(session: Session, settings: Settings, reader_id: int, now: datetime) -> None:
    """Queue the mail unless the hour or the day has had its share; the reader is locked by the caller."""
    of_today = _recently(session, reader_id, DeliveryKind.SIGN_IN, now - timedelta(days=1), at_least=SIGN_INS_A_DAY)
    if not of_today and not _recently(session, reader_id, DeliveryKind.SIGN_IN, now - SIGN_IN_PAUSE):
        _write_to(session, settings, reader_id, DeliveryKind.SIGN_IN, now)


def _recently(session: Session, reader_id: int, kind: DeliveryKind, since: datetime, *, at_least: int = 1) -> bool:
    statement = select(func.count()).where(
        Delivery.reader_id == reader_id,
        Delivery.kind == kind,
        Delivery.created_at > since,
        Delivery.state.not_in([DeliveryState.CANCELLED, DeliveryState.FAILED]),
    )
    return session.scalars(statement).one() >= at_least


def _write_to(session: Session, settings: Settings, reader_id: int, kind: DeliveryKind, now: datetime) -> None:
    rows.enqueue(
        session,
        kind=kind,
        reader_id=reader_id,
        mail_domain=settings.mail_domain,
        due_at=now,
        deadline=now + CONFIRM_DEADLINE,
    )


def _record(
    session: Session, settings: Settings, reader: Reader, kind: ConsentKind, wording: str, visit: Visit
) -> None:
    consent.record(
        session,
        reader_id=reader.id,
        address_hash=addresses.hashed(settings, reader.address_key),
        kind=kind,
        wording=wording,
        visit=visit,
    )


def _view(reader: Reader) -> ReaderView:
    return ReaderView(
        id=reader.id,
        email=reader.email,
        state=ReaderState(reader.state),
        timezone=reader.timezone,
        hour=reader.digest_hour,
        weekdays=reader.weekdays,
        paper_limit=reader.paper_limit,
        language=reader.language,
        created_at=reader.created_at,
        confirmed_at=reader.confirmed_at,
        next_digest_at=reader.next_digest_at,
    )
