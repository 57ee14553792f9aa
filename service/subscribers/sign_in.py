"""Signing in by a mailed link: short-lived, once, for one purpose; then a session in a signed cookie.

The links in digests (``Purpose.PREFERENCES``) change what is mailed and when. What could harm a reader whose digest was
forwarded (their data, their address, their account) wants a session (decision 027).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Delivery, DeliveryKind, DeliveryState, Reader, UsedLink
from service.outbox import rows
from service.settings import Settings
from service.subscribers.tokens import LIFETIME, Links, Purpose, TokenError
from service.translation import gettext as _

PAUSE: Final = timedelta(minutes=10)
"""Between two mails with a link to one reader, whoever asks."""
DEADLINE: Final = timedelta(hours=6)
"""A mail with a link that the relay will not take for so long is given up: nobody waits for it any more."""
SESSION: Final = timedelta(hours=12)


class UsedUp(TokenError):
    """A link that worked before."""


def request(session: Session, settings: Settings, reader_id: int, *, now: datetime | None = None) -> bool:
    """Mail a reader the link to sign in, at most one in ten minutes; whether one was queued.

    An address that was never confirmed gets none: anybody may have entered it.
    """
    moment = now or datetime.now(UTC)
    recent = select(Delivery.id).where(
        Delivery.reader_id == reader_id,
        Delivery.kind == DeliveryKind.SIGN_IN,
        Delivery.created_at > moment - PAUSE,
        Delivery.state.not_in([DeliveryState.CANCELLED, DeliveryState.FAILED]),
    )
    # Held until the end of the transaction, so that two requests at once are one mail.
    reader = session.get(Reader, reader_id, with_for_update=True)
    if reader is None or reader.confirmed_at is None or session.scalars(recent.limit(1)).first() is not None:
        return False
    rows.enqueue(
        session,
        kind=DeliveryKind.SIGN_IN,
        reader_id=reader_id,
        mail_domain=settings.mail_domain,
        due_at=moment,
        deadline=moment + DEADLINE,
    )
    return True


def use(session: Session, settings: Settings, token: str) -> int:
    """Spend a link; return the reader it names.

    A crash before the commit: it was not spent. Raises :class:`TokenError`; :class:`UsedUp` for one that worked before.
    """
    links = Links(settings)
    reader_id = links.read(Purpose.SIGN_IN, token)
    if not spend(session, spent(links, Purpose.SIGN_IN, token)):
        raise UsedUp(_("this link has worked once and does not work again: ask for a new one"))
    return reader_id


def prune(session: Session, *, now: datetime | None = None) -> None:
    """Forget spent links that have expired by now."""
    lifetime = LIFETIME[Purpose.SIGN_IN] or timedelta()
    session.execute(delete(UsedLink).where(UsedLink.used_at < (now or datetime.now(UTC)) - 2 * lifetime))


class Sessions:
    """Makes and reads the cookies of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._signer = URLSafeTimedSerializer(settings.verifying_keys, salt="paperround session")

    def made(self, session: Session, reader_id: int) -> str | None:
        """The value of a cookie; None for a reader who is gone."""
        epoch = session.scalar(select(Reader.session_epoch).where(Reader.id == reader_id))
        return None if epoch is None else str(self._signer.dumps([reader_id, epoch]))

    def read(self, session: Session, cookie: str | None) -> int | None:
        """The reader who is signed in with this cookie; None where it is forged, old, or was revoked."""
        if not cookie:
            return None
        try:
            named = self._signer.loads(cookie, max_age=int(SESSION.total_seconds()))
        except BadData:
            return None
        reader_id, epoch = named
        return session.scalar(select(Reader.id).where(Reader.id == reader_id, Reader.session_epoch == epoch))


def revoke(session: Session, reader_id: int) -> None:
    """Sign a reader out everywhere."""
    session.execute(update(Reader).where(Reader.id == reader_id).values(session_epoch=Reader.session_epoch + 1))


def spend(session: Session, digest: bytes) -> bool:
    """Whether what this stands for is taken for the first time: one link is one session.

    The insert waits for another transaction that is spending the same. It counts once the caller commits.
    """
    taken = insert(UsedLink).values(token_hash=digest).on_conflict_do_nothing().returning(UsedLink.used_at)
    return session.scalar(taken) is not None


def spent(links: Links, purpose: Purpose, token: str) -> bytes:
    """What is kept of a link that has worked: of what it says, for one signature can be spelled in several ways."""
    return hashlib.sha256(f"{purpose} {links.signed_content(purpose, token)}".encode()).digest()
