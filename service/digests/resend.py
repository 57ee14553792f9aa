"""A digest once more, because an operator said so: a second mail on purpose, under a Message-ID of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database.tables import Delivery, DeliveryKind, DeliveryState, Digest, Reader, ReaderState
from service.outbox import rows
from service.outbox.states import ENDS
from service.settings import Settings
from service.subscribers import addresses, suppression

PATIENCE: Final = timedelta(days=1)
"""A resend that the relay will not take for so long is given up."""
PAUSE: Final = timedelta(minutes=10)
"""Between two of one digest: a button pressed twice is one mail."""


class ResendError(Exception):
    """A digest that is not sent again. One line: the thing and the remedy."""


def resend(
    session: Session, settings: Settings, digest_id: int, *, reader_id: int | None = None, now: datetime | None = None
) -> int:
    """Queue a digest for its reader, who is ``reader_id`` where that is given, once more; return the delivery.

    1. Hold the reader, so that two operators at once make one mail.
    2. Refuse where the reader may not be mailed, the first mail is still on its way, or a resend was made just now.
    3. Put the new delivery in. A crash before the caller's commit: nothing was queued.

    What was sent before stays as it is, and giving a resend up carries nothing over: the reader had their mail. Raises
    :class:`ResendError`.
    """
    moment = now or datetime.now(UTC)
    digest = session.get(Digest, digest_id)
    reader = session.get(Reader, digest.reader_id, with_for_update=True) if digest is not None else None
    if digest is None or reader is None or reader_id not in (None, reader.id):
        raise ResendError(f"there is no digest {digest_id} any more: it, or its reader, was deleted")
    refuse_unmailable(session, settings, reader, moment)
    earlier = session.scalars(select(Delivery).where(Delivery.reader_id == reader.id, Delivery.digest_id == digest_id))
    for delivery in earlier:
        if DeliveryState(delivery.state) not in ENDS:
            raise ResendError(f"delivery {delivery.id} of this digest is still {delivery.state}: wait until it ends")
        if delivery.kind == DeliveryKind.RESEND and delivery.created_at > moment - PAUSE:
            raise ResendError(f"this digest was sent again at {delivery.created_at:%H:%M} UTC: wait ten minutes")
    return rows.enqueue(
        session,
        kind=DeliveryKind.RESEND,
        reader_id=reader.id,
        mail_domain=settings.mail_domain,
        digest_id=digest_id,
        due_at=moment,
        deadline=moment + PATIENCE,
    )


def refuse_unmailable(session: Session, settings: Settings, reader: Reader, now: datetime) -> None:
    """Raises :class:`ResendError` for a reader who may not be mailed a digest now."""
    if suppression.contains(session, addresses.hashed(settings, reader.address_key)):
        raise ResendError(f"the address of reader {reader.id} is suppressed: lift that first, if it may be mailed")
    if reader.state != ReaderState.ACTIVE:
        raise ResendError(f"reader {reader.id} is {reader.state}: only active readers are mailed digests")
    if reader.paused_until is not None and reader.paused_until > now:
        raise ResendError(f"reader {reader.id} has paused until {reader.paused_until:%Y-%m-%d}: they want no mail now")
