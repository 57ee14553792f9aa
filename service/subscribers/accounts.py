"""Readers: subscribe, confirm, change, leave. Each act of consent is recorded in the transaction that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import (
    Abstracts,
    Cadence,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Edition,
    Reader,
    ReaderState,
)
from service.outbox import rows
from service.outbox.kinds import DIGESTS
from service.settings import Settings
from service.subscribers import addresses, consent, interests, schedule, suppression
from service.subscribers import sign_in as links
from service.subscribers.consent import ConsentKind, Visit
from service.subscribers.interests import Wish
from service.translation import gettext as _

CONFIRM_PAUSE: Final = timedelta(days=1)
"""Between two confirmation mails to one address, whoever asks: a form must not become a mail bomb."""
SIGN_IN_PAUSE: Final = timedelta(hours=1)
SIGN_INS_A_DAY: Final = 3
CONFIRM_DEADLINE: Final = timedelta(days=3)
"""A confirmation that the relay will not take for so long is given up."""
LONGEST_PAUSE: Final = timedelta(days=367)
A_MONTH: Final = timedelta(days=30)
"""The pause offered to who has just left."""


class Less(StrEnum):
    """What is offered to who has just left."""

    WEEKLY = "weekly"
    PAUSE = "pause"


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
    cadence: Cadence = Cadence.DAILY
    """Weekly wants exactly one weekday."""
    abstracts: Abstracts = Abstracts.SHORT
    plain_text: bool = False
    trending: bool = True
    language: str | None = None
    """A tag (RFC 5646). None: stays as it is."""
    paused_until: date | None = None
    """The day, in the reader's time zone, on which mails go on."""


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
    cadence: Cadence
    abstracts: Abstracts
    plain_text: bool
    trending: bool
    paused_until: date | None
    created_at: datetime
    confirmed_at: datetime | None
    next_digest_at: datetime | None

    @property
    def first_is_coming(self) -> bool:
        """Confirmed a moment ago, their first digest not planned yet."""
        return self.confirmed_at is not None and self.next_digest_at == self.confirmed_at


def subscribe(session: Session, settings: Settings, signup: Signup, *, now: datetime | None = None) -> int:
    """Enter a reader as pending and queue the confirmation mail; return their id.

    What the caller sees is the same whoever asks for whatever address:

    - unknown or unsubscribed: pending, with these interests, and a confirmation;
    - pending: these interests, and a confirmation unless one went out in the last day;
    - active: nothing changes (anybody could be asking); a mail with the link to sign in, at most one an hour
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
    """The reader said yes: active, welcomed, and their first digest due at this very moment, so that the planner makes
    it at its next turn, whatever happens to this process; the schedule goes on after it. Twice is as good as once.

    Raises :class:`AccountError` for a reader who is gone, or has unsubscribed or bounced since: an old mail must not
    bring back what its reader, or the end of their address, ended.
    """
    reader = _known(session, reader_id)
    if reader.state == ReaderState.UNSUBSCRIBED:
        raise AccountError(_("this subscription was ended: subscribe again on the site"))
    if reader.state == ReaderState.PENDING:
        if not suppression.passed(session, addresses.hashed(settings, reader.address_key)):
            raise AccountError(_("mail to this address came back: subscribe again on the site"))
        moment = now or datetime.now(UTC)
        _activate(session, settings, reader, moment)
        reader.next_digest_at = moment
        _record(session, settings, reader, ConsentKind.CONFIRMED, consent.CONFIRM_WORDING, visit)
        _write_to(session, settings, reader.id, DeliveryKind.WELCOME, moment)
    return _view(reader)


def unsubscribe(session: Session, settings: Settings, reader_id: int, visit: Visit) -> None:
    """The reader is gone from the next round on; what waits for them is cancelled. Twice is as good as once."""
    reader = session.get(Reader, reader_id, with_for_update=True)
    if reader is None or reader.state == ReaderState.UNSUBSCRIBED:
        return
    reader.state = ReaderState.UNSUBSCRIBED
    reader.next_digest_at = reader.paused_until = None
    session.flush()
    rows.cancel_for_reader(session, reader_id, "unsubscribed")
    _record(session, settings, reader, ConsentKind.UNSUBSCRIBED, consent.UNSUBSCRIBE_WORDING, visit)


def come_back(
    session: Session, settings: Settings, reader_id: int, less: Less, visit: Visit, *, now: datetime | None = None
) -> ReaderView:
    """Who has just left wants less instead. Does nothing for one who is active again.

    Raises :class:`AccountError` for a reader who is gone or never confirmed, or whose address must not be mailed.
    """
    reader = _known(session, reader_id)
    if reader.state == ReaderState.ACTIVE:
        return _view(reader)
    barred = not suppression.passed(session, addresses.hashed(settings, reader.address_key))
    if reader.state != ReaderState.UNSUBSCRIBED or reader.confirmed_at is None or barred:
        raise AccountError(_("this address cannot be taken up again here: subscribe on the site"))
    moment = now or datetime.now(UTC)
    if less is Less.WEEKLY:
        reader.cadence = Cadence.WEEKLY
        reader.weekdays = schedule.only_first(reader.weekdays)
    else:
        reader.paused_until = schedule.beginning_of(
            moment.astimezone(schedule.zone(reader.timezone)).date() + A_MONTH, reader.timezone
        )
    reader.last_edition_id = max(edition_before(session, settings, moment), reader.last_edition_id)
    reader.state = ReaderState.ACTIVE
    _reschedule(reader, moment)
    _record(session, settings, reader, ConsentKind.RESUMED, consent.LESS_WORDING, visit)
    return _view(reader)


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
    """Change schedule, size and form of the mails, begin a pause or end it.

    A pause cancels digests that wait. One that is ended passes over what came meanwhile, as one that ends by itself.
    Raises ScheduleError, AccountError.
    """
    check(preferences)
    moment = now or datetime.now(UTC)
    reader = _known(session, reader_id)
    until = _pause(preferences, moment)
    _prefer(reader, settings, preferences)
    if until is not None and reader.state == ReaderState.ACTIVE:
        reader.paused_until = until
        kinds = DIGESTS | {DeliveryKind.PAUSE_ENDED}
        rows.cancel_for_reader(session, reader_id, "the reader has paused", kinds=kinds, now=moment)
    elif reader.paused_until is not None:
        end_pause(session, settings, reader, moment)
    if reader.state == ReaderState.ACTIVE:
        _reschedule(reader, moment)
    session.flush()
    return _view(reader)


def end_pause(session: Session, settings: Settings, reader: Reader, now: datetime) -> None:
    """Take a pause off a reader whom the caller holds."""
    reader.paused_until = None
    reader.last_edition_id = max(edition_before(session, settings, now), reader.last_edition_id)


def edition_before(session: Session, settings: Settings, now: datetime) -> int:
    """The last edition that somebody who becomes a reader now is not to get; 0 for none."""
    known_before = now - timedelta(days=settings.first_digest_days)
    return session.scalars(select(func.coalesce(func.max(Edition.id), 0)).where(Edition.cut_at < known_before)).one()


def get(session: Session, reader_id: int) -> ReaderView | None:
    """The reader of this id; None where there is none (any more)."""
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
    if preferences.cadence is Cadence.WEEKLY and preferences.weekdays & (preferences.weekdays - 1):
        raise AccountError(_("a weekly mail comes on one weekday: choose one"))
    if preferences.paper_limit is not None and not 1 <= preferences.paper_limit <= 50:
        raise AccountError(
            _("%(count)s papers in a mail are not possible: choose 1 to 50", count=preferences.paper_limit)
        )


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
        raise AccountError(_("this subscription does not exist any more: subscribe again on the site"))
    return reader


def _prefer(reader: Reader, settings: Settings, preferences: Preferences) -> None:
    reader.digest_hour = preferences.hour
    reader.timezone = preferences.timezone
    reader.weekdays = preferences.weekdays
    reader.paper_limit = preferences.paper_limit or settings.paper_limit
    reader.cadence = preferences.cadence
    reader.abstracts = preferences.abstracts
    reader.plain_text = preferences.plain_text
    reader.trending = preferences.trending
    if preferences.language is not None:
        reader.language = preferences.language


def _pause(preferences: Preferences, now: datetime) -> datetime | None:
    if preferences.paused_until is None:
        return None
    until = schedule.beginning_of(preferences.paused_until, preferences.timezone)
    if not now < until <= now + LONGEST_PAUSE:
        raise AccountError(_("a pause ends on a day to come, within a year: choose another day, or none"))
    return until


def _day_of_return(reader: Reader) -> date | None:
    return reader.paused_until.astimezone(schedule.zone(reader.timezone)).date() if reader.paused_until else None


def _activate(session: Session, settings: Settings, reader: Reader, now: datetime) -> None:
    reader.last_edition_id = max(edition_before(session, settings, now), reader.last_edition_id or 0)
    reader.state = ReaderState.ACTIVE
    reader.confirmed_at = now
    _reschedule(reader, now)
    session.flush()


def _reschedule(reader: Reader, now: datetime) -> None:
    """The next slot; after the pause, if there is one. A digest that is due already stays due."""
    if reader.paused_until is None and reader.next_digest_at is not None and reader.next_digest_at <= now:
        return
    after = now if reader.paused_until is None else max(now, reader.paused_until - timedelta(microseconds=1))
    reader.next_digest_at = schedule.next_slot(
        after, timezone=reader.timezone, hour=reader.digest_hour, weekdays=reader.weekdays
    )


def _send_sign_in(session: Session, settings: Settings, reader_id: int, now: datetime) -> None:
    """Queue the mail unless the hour or the day has had its share; the reader is locked by the caller."""
    of_today = _recently(session, reader_id, DeliveryKind.SIGN_IN, now - timedelta(days=1), at_least=SIGN_INS_A_DAY)
    if not of_today and not _recently(session, reader_id, DeliveryKind.SIGN_IN, now - SIGN_IN_PAUSE):
        links.request(session, settings, reader_id, now=now)


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
        cadence=Cadence(reader.cadence),
        abstracts=Abstracts(reader.abstracts),
        plain_text=reader.plain_text,
        trending=reader.trending,
        paused_until=_day_of_return(reader),
        created_at=reader.created_at,
        confirmed_at=reader.confirmed_at,
        next_digest_at=reader.next_digest_at,
    )
