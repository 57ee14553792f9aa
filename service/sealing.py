"""What the tables hold sealed: AES-256-GCM, under a key derived from PAPERROUND_SECRET for one purpose.

A copy of the tables alone opens nothing. What was sealed under a secret of before is opened as long as that one is
listed (``Settings.verifying_keys``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.settings import Settings

_NONCE_BYTES: Final = 12


class SealError(Exception):
    """Sealed under a secret that is not listed, or for something else."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a seal held."""

    content: bytes
    age: int
    """Under which secret: 0 for the one that signs, 1 for the newest of the old ones, and so on."""


def sealed(settings: Settings, purpose: str, bound: str, content: bytes) -> bytes:
    """For the table. ``bound`` names the row: the seal is worth nothing in another."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_key(settings.signing_key, purpose)).encrypt(nonce, content, bound.encode())


def opened(settings: Settings, purpose: str, bound: str, stored: bytes) -> Opened:
    """Raises :class:`SealError`."""
    for age, secret in enumerate(reversed(settings.verifying_keys)):
        try:
            content = AESGCM(_key(secret, purpose)).decrypt(
                stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], bound.encode()
            )
        except (InvalidTag, ValueError):
            continue
        return Opened(content, age)
    raise SealError(f"{bound} is sealed under a secret that is not listed")


@lru_cache(maxsize=32)
def _key(secret: str, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"paperround {purpose}".encode()).derive(secret.encode())
