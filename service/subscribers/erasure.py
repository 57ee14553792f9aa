"""Deleting a reader, and telling them what was deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.database.tables import (
    CarriedOver,
    Delivery,
    DeliveryKind,
    Digest,
    Feedback,
    Interest,
    Letter,
    Reader,
    ReaderState,
)
from service.outbox import letters
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import addresses, consent, suppression
from service.subscribers.accounts import AccountError
from service.subscribers.consent import ConsentKind, Visit


def erase(
    session: Session,
    settings: Settings,
    reader_id: int,
    visit: Visit,
    *,
    goodbye: bool = False,
    now: datetime | None = None,
) -> Mapping[str, int]:
    """Delete a reader with interests, feedback, digests and deliveries; return how many of each. What hangs on
    their row goes with it: marks, keys, a change of address.

    The record of consent stays, as a hash, and so does a suppression. With ``goodbye`` one mail more tells what was
    deleted: it is queued in the same transaction with the address in its letter, which is dropped when it is settled
    (``outbox.letters``). A crash before the commit: nothing was deleted. After it: the mail waits and is sent; what is
    left of the reader until then is that letter, for a day at most.

    Raises :class:`AccountError` for a reader who is gone.
    """
    reader = session.get(Reader, reader_id, with_for_update=True)
    if reader is None:
        raise AccountError("this subscription does not exist any more: there is nothing left to delete")
    consent.record(
        session,
        reader_id=reader_id,
        address_hash=addresses.hashed(settings, reader.address_key),
        kind=ConsentKind.DELETED,
        wording="",
        visit=visit,
    )
    mailable = reader.state == ReaderState.ACTIVE or reader.confirmed_at is not None
    wanted = goodbye and mailable and not suppression.contains(session, addresses.hashed(settings, reader.address_key))
    address = LetterView(reader.email, reader.address_key, reader.language, reader.plain_text, {})
    counted = {
        "interests": _count(session, Interest, reader_id),
        "words": _count(session, Feedback, reader_id),
        "digests": _count(session, Digest, reader_id),
        "deliveries": _count(session, Delivery, reader_id),
    }
    theirs = select(Delivery.id).where(Delivery.reader_id == reader_id)
    session.execute(delete(Letter).where(Letter.delivery_id.in_(theirs)))
    for table in (CarriedOver, Delivery, Digest, Interest):
        session.execute(delete(table).where(table.reader_id == reader_id))
    session.execute(delete(Reader).where(Reader.id == reader_id))
    if wanted:
        letters.enqueue(
            session,
            kind=DeliveryKind.GOODBYE,
            reader_id=reader_id,
            mail_domain=settings.mail_domain,
            letter=LetterView(address.email, address.address_key, address.language, address.plain_text, counted),
            now=now or datetime.now(UTC),
        )
    return counted


def _count(
    session: Session, table: type[Interest] | type[Feedback] | type[Digest] | type[Delivery], reader_id: int
) -> int:
    return session.scalars(select(func.count()).select_from(table).where(table.reader_id == reader_id)).one()
