"""Mail addresses: which can receive mail, when two spellings are one, and how one is kept without being kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from email_validator import EmailNotValidError, validate_email

from service.settings import Settings
from service.translation import gettext as _

LOCAL_DOMAIN = "localhost"
"""The one domain without a dot that is accepted: mail to it stays on the machine (the sample reader's)."""


class AddressError(Exception):
    """An address that cannot receive mail. One line: the address, what is wrong, the remedy."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mail address that can receive mail, as written and as compared."""

    email: str
    """Where mail goes: as written, Unicode in NFC, the domain in lower case."""
    key: str
    """Equal for two spellings of one address: case-folded, the domain in IDNA A-labels."""
    domain: str
    """The domain in A-labels, for the envelope and for rate limits."""


def parse(text: str) -> Address:
    """Understand an address. Raises :class:`AddressError`.

    By RFC 5321 the local part may be told apart by case; no provider does, and readers type it either way, so the key
    folds it. Dots and tags are kept: ``a+papers@`` may well be a second subscription.
    """
    written = text.strip()
    shown = written[:64]
    local, at, domain = written.rpartition("@")
    if at and domain.lower() == LOCAL_DOMAIN and local.isascii() and local.isalnum():
        return Address(f"{local}@{LOCAL_DOMAIN}", f"{local}@{LOCAL_DOMAIN}".casefold(), LOCAL_DOMAIN)
    if len(local) <= _LONGEST_LOCAL and _PLAIN_LOCAL.fullmatch(local) and len(written) <= _LONGEST:
        known = _plain_domain(domain.lower())
        if known:
            return Address(f"{local}@{known}", f"{local}@{known}".casefold(), known)
    try:
        # Names under .test are for trials (RFC 6761); .invalid, .local and the like never reach anybody.
        valid = validate_email(written, check_deliverability=False, strict=True, test_environment=True)
    except EmailNotValidError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise AddressError(
            _(
                "“%(address)s” cannot receive mail (%(reason)s): write it like ada@example.org",
                address=_printable(shown),
                reason=reason,
            )
        ) from None
    domain = valid.ascii_domain.lower()
    return Address(valid.normalized, f"{valid.local_part}@{domain}".casefold(), domain)


_PLAIN_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""A dot-atom of ASCII (RFC 5322, 3.2.3): what nearly every local part is."""
_LONGEST_LOCAL: Final = 64
_LONGEST: Final = 254
"""Octets (RFC 5321, 4.5.3.1, less the angle brackets)."""


@lru_cache(maxsize=65_536)
def _plain_domain(domain: str) -> str | None:
    """The domain where the validator would leave it as it is, so that a long list asks it once a domain."""
    if not domain.isascii() or "xn--" in domain:
        return None
    try:
        valid = validate_email(f"a@{domain}", check_deliverability=False, strict=True, test_environment=True)
    except EmailNotValidError:
        return None
    return domain if valid.ascii_domain == valid.domain == domain else None


def hashed(settings: Settings, key: str) -> bytes:
    """A keyed hash of an address key: can be compared, cannot be turned back without the key that the database keeps
    (``hash_key``). For settings that no database has told it, the key is that of a new one."""
    return hashed_by(settings.address_hash_key or derived_hash_key(settings.verifying_keys[0]), key)


def hashed_by(hash_key: bytes, key: str) -> bytes:
    return hmac.digest(hash_key, key.encode(), "sha256")


@lru_cache(maxsize=8)
def derived_hash_key(secret: str) -> bytes:
    """What a database's hashes are made with that began with this secret."""
    return hashlib.sha256(b"paperround address hash" + secret.encode()).digest()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)
