"""A reader moves to another address: confirmed at the new one, told to the old one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.database.tables import AddressChange, Delivery, DeliveryKind, DeliveryState, Reader, ReaderState
from service.outbox import letters
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import addresses, consent, sign_in, suppression
from service.subscribers.accounts import AccountError
from service.subscribers.consent import ConsentKind, Visit
from service.subscribers.tokens import LIFETIME, Purpose
from service.translation import gettext as _

PAUSE: Final = timedelta(minutes=30)
"""Between two mails that one reader has sent to addresses of their choice: nobody's inbox is filled through us."""


def request(session: Session, settings: Settings, reader_id: int, email: str, *, now: datetime | None = None) -> None:
    """Remember the wished address and mail it a link.

    What the caller sees does not tell whether the address is known or suppressed. Raises AddressError, AccountError.
    """
    moment = now or datetime.now(UTC)
    address = addresses.parse(email)
    reader = _locked(session, reader_id)
    if address.key == reader.address_key:
        raise AccountError(_("%(email)s is your address already", email=address.email))
    recent = select(Delivery.id).where(
        Delivery.reader_id == reader_id,
        Delivery.kind == DeliveryKind.ADDRESS_CONFIRM,
        Delivery.created_at > moment - PAUSE,
        Delivery.state.not_in([DeliveryState.CANCELLED, DeliveryState.FAILED]),
    )
    if session.scalars(recent.limit(1)).first() is not None:
        raise AccountError(_("a mail to a new address went out a moment ago: try again in half an hour"))
    session.execute(delete(AddressChange).where(AddressChange.reader_id == reader_id))
    change = AddressChange(reader_id=reader_id, email=address.email, address_key=address.key, requested_at=moment)
    session.add(change)
    session.flush()
    if suppression.contains(session, addresses.hashed(settings, address.key)):
        return
    letter = LetterView(address.email, address.key, reader.language, reader.plain_text, {"change": change.id})
    letters.enqueue(
        session,
        kind=DeliveryKind.ADDRESS_CONFIRM,
        reader_id=reader_id,
        mail_domain=settings.mail_domain,
        letter=letter,
        now=moment,
    )


def wished(session: Session, change_id: int) -> str | None:
    """The address of a change that still waits; None where it was made, replaced or taken back."""
    return session.scalar(select(AddressChange.email).where(AddressChange.id == change_id))


def complete(session: Session, settings: Settings, change_id: int, visit: Visit, *, now: datetime | None = None) -> str:
    """The owner of the new address said yes; return it. All in the caller's transaction, so a crash changes nothing.

    1. Take the change: a second click finds none.
    2. Move the reader. What bounces from now on of mails to the old address is older than ``confirmed_at`` and ignored.
    3. Sign them out everywhere: who was signed in had not shown to own the new address.
    4. Record the consent, and queue the notice to the old address.

    Raises :class:`AccountError` where the change is gone or the address is another reader's by now.
    """
    moment = now or datetime.now(UTC)
    taken = session.execute(
        delete(AddressChange)
        .where(AddressChange.id == change_id)
        .returning(AddressChange.reader_id, AddressChange.email, AddressChange.address_key)
    ).first()
    if taken is None:
        raise AccountError(_("this change was made or replaced before: sign in to see the address we have"))
    reader = _locked(session, taken.reader_id)
    address_hash = addresses.hashed(settings, taken.address_key)
    if session.scalar(select(Reader.id).where(Reader.address_key == taken.address_key)) is not None:
        raise AccountError(_("%(email)s is subscribed already: unsubscribe there first", email=taken.email))
    if suppression.contains(session, address_hash):
        raise AccountError(_("mail to %(email)s came back: choose another address", email=taken.email))
    old = LetterView(reader.email, reader.address_key, reader.language, reader.plain_text, {})
    reader.email, reader.address_key, reader.confirmed_at = taken.email, taken.address_key, moment
    session.flush()
    sign_in.revoke(session, reader.id)
    consent.record(
        session,
        reader_id=reader.id,
        address_hash=address_hash,
        kind=ConsentKind.MOVED,
        wording=consent.MOVE_WORDING,
        visit=visit,
    )
    letters.enqueue(
        session,
        kind=DeliveryKind.ADDRESS_NOTICE,
        reader_id=reader.id,
        mail_domain=settings.mail_domain,
        letter=old,
        now=moment,
    )
    return str(taken.email)


def prune(session: Session, *, now: datetime | None = None) -> None:
    """Forget wishes that nobody confirmed in time."""
    lifetime = LIFETIME[Purpose.ADDRESS] or timedelta()
    session.execute(delete(AddressChange).where(AddressChange.requested_at < (now or datetime.now(UTC)) - lifetime))


def _locked(session: Session, reader_id: int) -> Reader:
    reader = session.get(Reader, reader_id, with_for_update=True)
    if reader is None or reader.state != ReaderState.ACTIVE:
        raise AccountError(_("only who is subscribed can change the address: subscribe with the new one"))
    return reader
