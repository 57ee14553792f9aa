"""DKIM signatures (RFC 6376): who relays or receives our mail can see that it is ours and that nobody changed it.

RSA-2048 with SHA-256 always, since it is what everybody verifies (RFC 8301); Ed25519 (RFC 8463) beside it if a second
key is given, never alone. Canonicalization is relaxed/simple: our bodies have CRLF and quoted-printable lines already,
so the body is hashed as it stands, once for both signatures. There is no ``l=``: it would let others append to our
mail.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from service.settings import Settings, SettingsError

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

SMALLEST_RSA_BITS: Final = 1024
"""RFC 8301, 3.2; keys made here have 2048."""
SIGNED: Final = (
    "from", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type",
    "content-transfer-encoding", "list-id", "list-unsubscribe", "list-unsubscribe-post", "list-help", "list-post",
    "feedback-id", "auto-submitted",
)  # fmt: skip
"""Header fields that are signed where they occur (RFC 6376, 5.4.1; RFC 8058, 4 asks for the two of unsubscribing)."""
OVERSIGNED: Final = frozenset({"from", "reply-to", "to", "cc", "subject", "date", "mime-version", "content-type"})
"""Named once more than they occur, so that a second one added on the way breaks the signature (RFC 6376, 8.15)."""

_PUBLISHED: Final = 255
"""Octets of one string of a TXT record (RFC 1035, 3.3.14)."""
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_BLANKS = re.compile(rb"[ \t]+")
_PADDING: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()


class DkimError(SettingsError):
    """Mail cannot be signed as the settings ask. One line: the setting and the remedy."""


@dataclass(frozen=True, slots=True)
class Record:
    """The TXT record by which a key is published."""

    name: str
    value: str

    @property
    def zone_line(self) -> str:
        """As a line of a zone file, in strings short enough for one."""
        strings = [self.value[at : at + _PUBLISHED] for at in range(0, len(self.value), _PUBLISHED)]
        quoted = " ".join(f'"{each}"' for each in strings)
        return f"{self.name}. IN TXT ( {quoted} )"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the name it is published under."""

    selector: str
    private: PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def record(self, domain: str) -> Record:
        """What to publish so that receivers can verify (RFC 6376, 3.6.1; RFC 8463, 4)."""
        public = self.private.public_key()
        if isinstance(self.private, RSAPrivateKey):
            kind = "rsa"
            octets = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        else:
            kind = "ed25519"
            octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        value = f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode('ascii')}"
        return Record(f"{self.selector}._domainkey.{domain}", value)

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(data, _PADDING, _SHA256)
        # RFC 8463, 3: Ed25519 signs the digest of what RSA signs.
        return self.private.sign(hashlib.sha256(data).digest())


class Signer:
    """Signs the mail of one domain. Safe for several threads, which RSA lets run side by side."""

    def __init__(self, domain: str, keys: Sequence[SigningKey], clock: Callable[[], float] = time.time) -> None:
        self.domain = domain
        self.keys = tuple(keys)
        self._clock = clock

    @property
    def records(self) -> list[Record]:
        """What must be published, a record a key."""
        return [key.record(self.domain) for key in self.keys]

    def signed(self, content: bytes) -> bytes:
        """The message ``content`` (RFC 5322 with CRLF) with a DKIM-Signature for each key before its first header."""
        end = content.index(b"\r\n\r\n") + 2
        tag, canonical = _relaxed(content[:end])
        body_hash = base64.b64encode(_body_digest(content, end + 2))
        stamp = int(self._clock())
        fields = []
        for key in self.keys:
            opening = (
                f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/simple; d={self.domain};\r\n"
                f" s={key.selector}; t={stamp};\r\n"
            ).encode("ascii")
            unsigned = b"%s%s\r\n bh=%s;\r\n b=" % (opening, tag, body_hash)
            # The field itself is signed last, with an empty b= and without its line end (RFC 6376, 3.7).
            own = b"dkim-signature:" + _BLANKS.sub(b" ", unsigned[16:].replace(b"\r\n", b""))
            signature = base64.b64encode(key.sign(canonical + own))
            folded = b"\r\n  ".join(signature[at : at + 72] for at in range(0, len(signature), 72))
            fields += [unsigned, b"\r\n  ", folded, b"\r\n"]
        return b"".join([*fields, content])


def configured(settings: Settings) -> Signer | None:
    """The signer that the settings describe; None where they name no key: then the relay may sign.

    Raises :class:`DkimError`.
    """
    if settings.dkim_key_file is not None and settings.dkim_key is not None:
        raise DkimError("give PAPERROUND_DKIM_KEY_FILE or PAPERROUND_DKIM_KEY, not both")
    if settings.dkim_key_file is not None:
        first = read_key(settings.dkim_key_file, "PAPERROUND_DKIM_KEY_FILE")
    elif settings.dkim_key is not None:
        # In one line of an environment file, line ends are written as \n.
        pem = settings.dkim_key.get_secret_value().replace("\\n", "\n").encode()
        first = _parsed(pem, "PAPERROUND_DKIM_KEY")
    else:
        if settings.dkim_second_key_file is not None:
            raise DkimError("PAPERROUND_DKIM_SECOND_KEY_FILE cannot stand alone: give PAPERROUND_DKIM_KEY_FILE too")
        return None
    if not isinstance(first, RSAPrivateKey):
        raise DkimError("the first DKIM key must be RSA: many receivers verify no other; Ed25519 may be the second")
    domain = signing_domain(settings)
    keys = [SigningKey(_selector(settings.dkim_selector, "SELECTOR"), first)]
    if settings.dkim_second_key_file is not None:
        selector = _selector(settings.dkim_second_selector, "SECOND_SELECTOR")
        if selector == settings.dkim_selector:
            raise DkimError("PAPERROUND_DKIM_SECOND_SELECTOR must differ from the first: each names one key")
        keys.append(SigningKey(selector, read_key(settings.dkim_second_key_file, "PAPERROUND_DKIM_SECOND_KEY_FILE")))
    return Signer(domain, keys)


def signing_domain(settings: Settings) -> str:
    """The ``d=`` of the settings, in A-labels, aligned with the From (RFC 7489, 3.1.1). Raises :class:`DkimError`."""
    sender = _ascii(settings.mail_domain)
    domain = _ascii(settings.dkim_domain) if settings.dkim_domain else sender
    if not (f".{sender}".endswith(f".{domain}") or domain.endswith(f".{sender}")):
        raise DkimError(f"PAPERROUND_DKIM_DOMAIN is not in line with PAPERROUND_FROM: {sender} or a domain above it")
    return domain


def make_key(path: Path, *, ed25519: bool = False) -> None:
    """Make a private key in ``path``, readable by its owner alone. Raises :class:`DkimError` where there is one."""
    private: PrivateKey = (
        Ed25519PrivateKey.generate() if ed25519 else generate_private_key(public_exponent=65537, key_size=2048)
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(pem)
    except FileExistsError:
        raise DkimError(f"{path} exists already: a key in use is never overwritten; name another file") from None
    except OSError as error:
        raise DkimError(f"{path} cannot be written ({error.strerror}): name another file") from None


def read_key(path: Path, setting: str) -> PrivateKey:
    """The private key in ``path``. Raises :class:`DkimError`, naming ``setting``."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise DkimError(f"{setting} cannot be read ({error.strerror}): `paperround dkim` makes a key") from None
    return _parsed(pem, setting)


@lru_cache(maxsize=8)
def _parsed(pem: bytes, setting: str) -> PrivateKey:
    # Checking an RSA key takes some hundred times as long as signing with it: once a process.
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DkimError(f"{setting} holds no usable private key in PEM: `paperround dkim` makes one") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < SMALLEST_RSA_BITS:
            raise DkimError(f"{setting} holds an RSA key of {key.key_size} bits, and receivers ignore such: use 2048")
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise DkimError(f"{setting} must hold an RSA or Ed25519 key: `paperround dkim` makes one")


def _selector(selector: str, setting: str) -> str:
    if not all(_LABEL.fullmatch(label) for label in selector.split(".")):
        raise DkimError(f"PAPERROUND_DKIM_{setting} must be a name of letters, digits and hyphens")
    return selector


def _ascii(domain: str) -> str:
    try:
        return domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise DkimError(f"{domain} cannot be written as a domain of the DNS: check PAPERROUND_FROM") from None


def _relaxed(head: bytes) -> tuple[bytes, bytes]:
    """The ``h=`` tag, and the fields it names, canonicalized (RFC 6376, 3.4.2), each with its line end."""
    if b"\r\n " in head or b"\r\n\t" in head:
        head = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    occurring = [line.partition(b":") for line in head.split(b"\r\n")[:-1]]
    tag, order = _choice(tuple([name for name, _, _ in occurring]))
    fields = []
    for key, place in order:
        value = occurring[place][2]
        if b"  " in value or b"\t" in value:
            value = _BLANKS.sub(b" ", value)
        fields += [key, value.strip(), b"\r\n"]
    return tag, b"".join(fields)


@lru_cache(maxsize=256)
def _choice(occurring: tuple[bytes, ...]) -> tuple[bytes, tuple[tuple[bytes, int], ...]]:
    """For the field names of a message, in their order: the ``h=`` tag, folded, and what it means, in its order: each
    field's canonical name with its colon, and its place in the message."""
    found: dict[str, list[tuple[bytes, int]]] = {}
    for place, name in enumerate(occurring):
        key = name.strip().lower()
        found.setdefault(key.decode("ascii"), []).append((key + b":", place))
    names: list[str] = []
    order: list[tuple[bytes, int]] = []
    for signed in SIGNED:
        # Of several of one name, the lowest is signed first (RFC 6376, 5.4.2).
        same = found.get(signed, [])
        order += reversed(same)
        names += [signed] * (len(same) + (signed in OVERSIGNED))
    lines, used = [" h="], 3
    for number, named in enumerate(names):
        word = named + (":" if number < len(names) - 1 else ";")
        if used + len(word) > 76:
            lines.append("  ")
            used = 2
        lines[-1] += word
        used += len(word)
    return "\r\n".join(lines).encode("ascii"), tuple(order)


def _body_digest(content: bytes, start: int) -> bytes:
    """SHA-256 of the body canonicalized by "simple": no empty lines at its end, but a line end (RFC 6376, 3.4.3)."""
    end = len(content)
    while content.endswith(b"\r\n\r\n", start, end):
        end -= 2
    hashed = hashlib.sha256(memoryview(content)[start:end])
    if content[max(start, end - 2) : end] != b"\r\n":
        hashed.update(b"\r\n")
    return hashed.digest()
