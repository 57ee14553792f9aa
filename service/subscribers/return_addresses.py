"""Signed mail addresses of ours: what is sent to one names a delivery or a reader, and cannot be made up.

Variable envelope return paths: a bounce comes back to ``b+<token>@<return domain>`` and so tells which delivery failed,
whatever its sender wrote into it; ``u+<token>@`` is the mailto: of List-Unsubscribe (RFC 2369). A token is 24 letters
and digits, alike in either case (some relays fold it): an id and an HMAC over purpose and id. It holds no address.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.settings import Settings

_ID_BYTES: Final = 6
_MAC_BYTES: Final = 9
"""72 bits: guessing one takes more mails than anybody can send. Together 15 bytes, so base32 needs no padding."""
_LOCAL = re.compile(r"([bu])\+([a-z2-7]{24})", re.IGNORECASE)
SUBSCRIBE: Final = "subscribe"
"""Local part of the address that takes sign-ups; topics in the subject."""
COMPLAINTS: Final = "complaints"
"""Local part to register at feedback loops (RFC 6449)."""


class AddressPurpose(StrEnum):
    """The letter before the token."""

    BOUNCE = "b"
    """The id is a delivery's."""
    UNSUBSCRIBE = "u"
    """The id is a reader's."""


class ForgedAddress(Exception):
    """Not an address that we made. One line."""


@dataclass(frozen=True, slots=True)
class SignedAddress:
    """What an address of ours says."""

    purpose: AddressPurpose
    id: int


class ReturnAddresses:
    """Makes and reads the signed addresses of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._domain = settings.return_domain
        self._sender = settings.sender_address
        # The newest first: it signs.
        self._keys = {
            purpose: [
                hashlib.sha256(f"paperround return address {purpose} {secret}".encode()).digest()
                for secret in reversed(settings.verifying_keys)
            ]
            for purpose in AddressPurpose
        }

    def bounce(self, delivery_id: int) -> str:
        """The envelope sender of a delivery; the From address where no return domain is set."""
        return self._made(AddressPurpose.BOUNCE, delivery_id) if self._domain else self._sender

    def unsubscribe(self, reader_id: int) -> str | None:
        """Where a mail, whatever it says, unsubscribes the reader; None where no return domain is set."""
        return self._made(AddressPurpose.UNSUBSCRIBE, reader_id) if self._domain else None

    def ours(self, address: str) -> bool:
        """Whether ``address`` lies in the return domain."""
        return bool(self._domain) and address.rpartition("@")[2].casefold() == self._domain

    def read(self, address: str) -> SignedAddress:
        """What ``address`` names. Its domain is not looked at: a mailbox may be reached by another name.

        Raises :class:`ForgedAddress`.
        """
        match = _LOCAL.fullmatch(address.rpartition("@")[0])
        if match is None:
            raise ForgedAddress("not a signed address")
        purpose = AddressPurpose(match[1].lower())
        try:
            token = base64.b32decode(match[2].upper())
        except binascii.Error:
            raise ForgedAddress("not a signed address") from None
        number, mac = token[:_ID_BYTES], token[_ID_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, number)) for key in self._keys[purpose]):
            raise ForgedAddress("an address that was not signed by us")
        return SignedAddress(purpose, int.from_bytes(number))

    def _made(self, purpose: AddressPurpose, number: int) -> str:
        packed = number.to_bytes(_ID_BYTES)
        token = base64.b32encode(packed + _mac(self._keys[purpose][0], packed)).decode("ascii").lower()
        return f"{purpose.value}+{token}@{self._domain}"


def _mac(key: bytes, packed: bytes) -> bytes:
    return hmac.digest(key, packed, "sha256")[:_MAC_BYTES]
