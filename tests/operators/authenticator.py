"""A small authenticator in software: it makes credentials and signs (WebAuthn Level 3, 6), ES256 only.

What it tells can be bent, one thing at a time, as a forger would.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.encode_cbor import encode_cbor

ORIGIN: Final = "https://papers.example"
_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """One credential of one operator. ``verifies``: whether it asks for a PIN or finger."""

    verifies: bool = True
    counter: int = 0
    counts: bool = False
    """Whether its counter goes up, as a security key's does; synced passkeys keep 0."""
    present: bool = True
    origin: str = ORIGIN
    rp_id: str | None = None
    """What it says it was asked by, if not what it was."""
    self_attests: bool = False
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes = b""

    def create(self, options: str, *, kind: str = "webauthn.create") -> str:
        """What ``navigator.credentials.create`` gives for these options."""
        asked = json.loads(options)
        self.user_handle = base64url_to_bytes(asked["user"]["id"])
        client = self._client_data(kind, asked["challenge"])
        told = self._data(self.rp_id or asked["rp"]["id"], _ATTESTED) + bytes(16)
        told += struct.pack(">H", len(self.credential_id)) + self.credential_id + self._public_key()
        statement: dict[str, Any] = {}
        if self.self_attests:
            statement = {"alg": -7, "sig": self._signed(told + hashlib.sha256(client).digest())}
        attestation = {"fmt": "packed" if statement else "none", "attStmt": statement, "authData": told}
        return self._credential(clientDataJSON=client, attestationObject=encode_cbor(attestation))

    def get(self, options: str, *, kind: str = "webauthn.get") -> str:
        """What ``navigator.credentials.get`` gives for these options."""
        asked = json.loads(options)
        client = self._client_data(kind, asked["challenge"])
        told = self._data(self.rp_id or asked["rpId"], 0)
        signature = self._signed(told + hashlib.sha256(client).digest())
        return self._credential(
            clientDataJSON=client, authenticatorData=told, signature=signature, userHandle=self.user_handle
        )

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said, separators=(",", ":")).encode()

    def _data(self, rp_id: str, more: int) -> bytes:
        self.counter += self.counts
        flags = _PRESENT * self.present | _VERIFIED * self.verifies | more
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, self.counter)

    def _public_key(self) -> bytes:
        point = self.key.public_key().public_numbers()
        return encode_cbor({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})

    def _signed(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(SHA256()))

    def _credential(self, **response: bytes) -> str:
        name = bytes_to_base64url(self.credential_id)
        parts = {part: bytes_to_base64url(value) for part, value in response.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": parts})
