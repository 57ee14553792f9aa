"""Signed links: each names a reader or a digest, is bound to one purpose, and most expire."""

from __future__ import annotations

import hmac
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode, int_to_bytes

from service.settings import Settings
from service.translation import gettext as _


class Purpose(StrEnum):
    """What a signed link is good for. A link of one purpose serves no other."""

    CONFIRM = "confirm"
    PREFERENCES = "preferences"
    UNSUBSCRIBE = "unsubscribe"
    DIGEST = "digest"
    """To look at one digest: names the digest, changes nothing."""
    FEEDBACK = "feedback"
    """To say a word on papers and to ask for more like one: adds, and shows nothing of the reader."""
    TOKEN = "token"  # noqa: S105 (a purpose, no secret)
    """Gives one access token of the HTTP API."""
    SIGN_IN = "sign-in"
    """To sign in, once (``sign_in``)."""
    ADDRESS = "address"
    """To confirm a new address: names the change."""
    LESS = "less"
    """To come back to fewer mails, on the page that says that one has left."""
    OPERATOR = "operator"
    """An operator's first factor, once (``operators.sign_in``): names the operator."""


LIFETIME: Final[dict[Purpose, timedelta | None]] = {
    Purpose.CONFIRM: timedelta(days=7),
    Purpose.PREFERENCES: timedelta(days=60),
    # Leaving must work from the oldest mail in the box.
    Purpose.UNSUBSCRIBE: None,
    Purpose.DIGEST: timedelta(days=60),
    Purpose.FEEDBACK: timedelta(days=60),
    Purpose.TOKEN: timedelta(hours=24),
    Purpose.SIGN_IN: timedelta(hours=1),
    Purpose.ADDRESS: timedelta(days=1),
    Purpose.LESS: timedelta(hours=1),
    Purpose.OPERATOR: timedelta(minutes=15),
}
LONGEST_LIFETIME: Final = max(lifetime for lifetime in LIFETIME.values() if lifetime is not None)
"""Of links that end."""


class TokenError(Exception):
    """A link that does not count. One line with the remedy."""


class ForgedToken(TokenError):
    """Not signed by us, or for another purpose."""


class ExpiredToken(TokenError):
    """Signed by us, but too long ago."""


class Links:
    """Makes and reads the links of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.origin
        self._signers = {
            purpose: URLSafeTimedSerializer(settings.verifying_keys, salt=f"paperround {purpose}")
            for purpose in Purpose
        }
        stamps = {purpose: TimestampSigner(settings.signing_key, salt=f"paperround {purpose}") for purpose in Purpose}
        self._stamps = {
            purpose: (signer, hmac.new(signer.derive_key(), digestmod="sha1")) for purpose, signer in stamps.items()
        }

    def confirm(self, reader_id: int) -> str:
        return self._link(Purpose.CONFIRM, reader_id)

    def preferences(self, reader_id: int) -> str:
        return self._link(Purpose.PREFERENCES, reader_id)

    def unsubscribe(self, reader_id: int) -> str:
        """The page with the button, and the target of one-click unsubscribe (RFC 8058)."""
        return self._link(Purpose.UNSUBSCRIBE, reader_id)

    def digest(self, digest_id: int) -> str:
        """The digest on a page of its own."""
        return self._link(Purpose.DIGEST, digest_id)

    def feedback(self, reader_id: int) -> str:
        """Where a reader's words on papers go; "/<paper>/up" or "/<paper>/down" follows."""
        return self._link(Purpose.FEEDBACK, reader_id)

    def access_token(self, reader_id: int) -> str:
        """The page that gives a token of the HTTP API."""
        return self._link(Purpose.TOKEN, reader_id)

    def signed_content(self, purpose: Purpose, token: str) -> str:
        """What a valid token says and when it was signed: equal for two spellings of one token."""
        reader_id, signed_at = self._signers[purpose].loads(token, return_timestamp=True)
        return f"{reader_id} {signed_at.timestamp():.0f}"

    def sign_in(self, reader_id: int) -> str:
        """Works once."""
        return self._link(Purpose.SIGN_IN, reader_id)

    def address(self, change_id: int) -> str:
        return self._link(Purpose.ADDRESS, change_id)

    def operator(self, operator_id: int) -> str:
        """Works once."""
        return f"{self._origin}/admin/enter/{self.token(Purpose.OPERATOR, operator_id)}"

    def token(self, purpose: Purpose, reader_id: int) -> str:
        """What ``dumps`` would give, with the key derived and laid into the MAC once: every mail carries several."""
        signer, keyed = self._stamps[purpose]
        value = _named(reader_id) + b"." + _stamp(signer.get_timestamp())
        mac = keyed.copy()
        mac.update(value)
        return (value + b"." + base64_encode(mac.digest())).decode("ascii")

    def read(self, purpose: Purpose, token: str) -> int:
        """The reader a token names; the digest for :attr:`Purpose.DIGEST`.

        Raises :class:`ForgedToken` or :class:`ExpiredToken`.
        """
        lifetime = LIFETIME[purpose]
        try:
            reader_id = self._signers[purpose].loads(token, max_age=int(lifetime.total_seconds()) if lifetime else None)
        except SignatureExpired:
            raise ExpiredToken(
                _("this link has expired: enter your address on the subscribe page and a new one comes by mail")
            ) from None
        except BadData:
            raise ForgedToken(_("this link is not valid: copy it whole from the mail, or ask for a new one")) from None
        if not isinstance(reader_id, int):
            raise ForgedToken(_("this link is not valid: copy it whole from the mail, or ask for a new one"))
        return reader_id

    def _link(self, purpose: Purpose, reader_id: int) -> str:
        return f"{self._origin}/{purpose}/{self.token(purpose, reader_id)}"


@lru_cache(maxsize=1_000)
def _named(reader_id: int) -> bytes:
    # For the few links of one mail.
    return base64_encode(str(reader_id))


@lru_cache(maxsize=8)
def _stamp(seconds: int) -> bytes:
    return base64_encode(int_to_bytes(seconds))
