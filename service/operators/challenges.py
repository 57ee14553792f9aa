"""Challenges for passkeys: random, for one ceremony, one browser and five minutes, spent by the first answer.

Nothing is kept of a challenge that was asked for: it stands, signed, in a cookie of the browser that asked; strangers
fill no table. What is kept is that it was answered, as of links (``used_link``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy.orm import Session

from service.settings import Settings
from service.subscribers import sign_in

LIFETIME: Final = timedelta(minutes=5)
"""From asking to answering: a person looks for the key."""
_BYTES: Final = 32
"""Twice what WebAuthn asks for (13.4.3)."""


class Ceremony(StrEnum):
    """What a challenge is for. One of another ceremony is not taken."""

    ENROL = "enrol"
    VERIFY = "verify"
    """The second factor, after the mailed link or once more."""
    SIGN_IN = "sign in"
    """Both factors at once, without a mail."""


def issue(settings: Settings, ceremony: Ceremony, bound: str, *, now: datetime) -> tuple[bytes, str]:
    """A new challenge, and the cookie's value that brings it back. ``bound`` names the session; empty at the door."""
    challenge = secrets.token_bytes(_BYTES)
    written = base64.b64encode(challenge).decode()
    expires = int((now + LIFETIME).timestamp())
    return challenge, str(_signer(settings, ceremony).dumps([written, bound, expires]))


def spend(
    session: Session, settings: Settings, ceremony: Ceremony, bound: Sequence[str], cookie: str, *, now: datetime
) -> bytes | None:
    """The challenge, which counts once; None where it is forged, run out, spent, another session's or ceremony's.

    ``bound``: what may have been said at its issue; more than one where the secret was changed.

    It counts as spent if the caller commits, whatever becomes of the answer.
    """
    try:
        written, issued_for, expires = _signer(settings, ceremony).loads(cookie)
    except BadData:
        return None
    if now.timestamp() >= expires:
        return None
    if not any(hmac.compare_digest(issued_for.encode(), each.encode()) for each in bound):
        return None
    challenge = base64.b64decode(written)
    # Of the challenge, not of the cookie, which can be spelled in more than one way.
    spent = hashlib.sha256(b"paperround challenge" + challenge).digest()
    return challenge if sign_in.spend(session, spent) else None


def _signer(settings: Settings, ceremony: Ceremony) -> URLSafeSerializer:
    return URLSafeSerializer(settings.verifying_keys, salt=f"paperround passkey {ceremony}")
