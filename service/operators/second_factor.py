"""The second factor: codes of six digits, each for half a minute (TOTP, RFC 6238), as any authenticator app makes them.

The secret is sealed (AES-256-GCM) under a key derived from the installation's secret and bound to its operator: a copy
of the tables opens no door. After a change of PAPERROUND_SECRET it is opened by the one before, as long as that is
listed, and sealed anew with the next right code or by `paperround secret reseal`.
"""

from __future__ import annotations

import base64
import os
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from service import sealing
from service.sealing import SealError
from service.settings import Settings

STEP: Final = 30
"""Seconds."""
DIGITS: Final = 6
_DRIFT: Final = 1
"""Steps that a telephone's clock may be off (RFC 6238, 5.2)."""
_SECRET_BYTES: Final = 20
"""As long as SHA-1's output (RFC 4226, 4)."""
_PURPOSE: Final = "operator second factor"


class SecondFactorError(Exception):
    """A sealed secret that this installation cannot open. One line with the remedy."""


def new_secret() -> bytes:
    return os.urandom(_SECRET_BYTES)


def sealed(settings: Settings, operator_id: int, secret: bytes) -> bytes:
    """A secret for the table."""
    return sealing.sealed(settings, _PURPOSE, _bound(operator_id), secret)


def opened(settings: Settings, operator_id: int, stored: bytes) -> bytes:
    """Raises :class:`SecondFactorError` where it was sealed under a secret not listed, or for another operator."""
    return _opened(settings, operator_id, stored).content


def age(settings: Settings, operator_id: int, stored: bytes) -> int:
    """Under which secret it is sealed (``sealing.Opened.age``). Raises :class:`SecondFactorError` as above."""
    return _opened(settings, operator_id, stored).age


def resealed(settings: Settings, operator_id: int, stored: bytes) -> bytes | None:
    """Sealed anew, where it was under an old secret; else None. Raises :class:`SecondFactorError` as above."""
    found = _opened(settings, operator_id, stored)
    return sealed(settings, operator_id, found.content) if found.age else None


def _opened(settings: Settings, operator_id: int, stored: bytes) -> sealing.Opened:
    try:
        return sealing.opened(settings, _PURPOSE, _bound(operator_id), stored)
    except SealError:
        raise SecondFactorError(
            "the second factor was enrolled under another PAPERROUND_SECRET: list that one in PAPERROUND_OLD_SECRETS;"
            " if it is lost, `paperround operators reset-totp ADDRESS` lets you enrol anew"
        ) from None


def step_of(secret: bytes, code: str, now: datetime, *, after: int | None) -> int | None:
    """The time step a code belongs to; None where it is wrong, or of a step not ``after`` the last one taken."""
    digits = "".join(code.split())
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    generator = _generator(secret)
    here = int(now.timestamp()) // STEP
    for step in range(here - _DRIFT, here + _DRIFT + 1):
        if after is not None and step <= after:
            continue
        try:
            generator.verify(digits.encode(), step * STEP)
        except InvalidToken:
            continue
        return step
    return None


def code(secret: bytes, now: datetime) -> str:
    """The code of a moment, as an app shows it."""
    return _generator(secret).generate(int(now.timestamp())).decode()


def address(secret: bytes, email: str) -> str:
    """What the QR code holds: the otpauth: address that apps read."""
    return _generator(secret).get_provisioning_uri(email, "Paperround")


def written(secret: bytes) -> str:
    """The secret to be typed where no camera is: base32 in groups of four."""
    letters = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(letters[place : place + 4] for place in range(0, len(letters), 4))


def _generator(secret: bytes) -> TOTP:
    # What authenticator apps agree on; HMAC needs no collision resistance.
    return TOTP(secret, DIGITS, SHA1(), STEP)  # noqa: S303 (as above)


def _bound(operator_id: int) -> str:
    return f"operator {operator_id}"
