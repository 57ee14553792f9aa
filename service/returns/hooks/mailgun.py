"""Mailgun: one event, with an HMAC over a timestamp and a token in the body.

The signature does not cover the event, so the token is the key under which the event is recorded: one token, one event.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final

from pydantic import Field

from service.database.tables import ReturnKind
from service.papers.fetching import Fetcher
from service.returns.hooks.call import (
    Call,
    ForgedCall,
    Loose,
    check_age,
    delivery_of,
    permanent,
    understood,
)
from service.settings import Settings
from service.subscribers import status_codes
from service.subscribers.returned import Return

_SUPPRESSED: Final = {
    "suppress-bounce": ReturnKind.HARD_BOUNCE,
    "suppress-complaint": ReturnKind.COMPLAINT,
    "suppress-unsubscribe": ReturnKind.UNSUBSCRIBE,
}
"""Reasons why Mailgun did not even try."""


class _Signature(Loose):
    timestamp: str
    token: str
    signature: str


class _Status(Loose):
    code: str = ""
    enhanced_code: str = Field(default="", validation_alias="enhanced-code")
    message: str = ""
    description: str = ""


class _Envelope(Loose):
    sender: str = ""


class _Headers(Loose):
    message_id: str = Field(default="", validation_alias="message-id")


class _Message(Loose):
    headers: _Headers = _Headers()


class _Event(Loose):
    event: str
    severity: str = ""
    reason: str = ""
    recipient: str = ""
    envelope: _Envelope = _Envelope()
    message: _Message = _Message()
    delivery_status: _Status = Field(default=_Status(), validation_alias="delivery-status")


class _Body(Loose):
    signature: _Signature
    event_data: _Event = Field(validation_alias="event-data")


class _Signed(Loose):
    signature: _Signature


class Mailgun:
    """See the module."""

    def configured(self, settings: Settings) -> bool:
        return settings.mailgun_hook_key is not None and bool(settings.mailgun_hook_key.get_secret_value().strip())

    def read(self, call: Call, settings: Settings, _fetcher: Fetcher, now: datetime) -> list[Return]:
        said = understood(_Signed, call.body).signature
        keys = settings.mailgun_hook_key.get_secret_value().split() if settings.mailgun_hook_key else []
        expected = [
            hmac.new(key.encode(), f"{said.timestamp}{said.token}".encode(), hashlib.sha256).hexdigest() for key in keys
        ]
        fits = any(hmac.compare_digest(each.encode(), said.signature.encode()) for each in expected)
        if not said.token or not fits:
            raise ForgedCall("the signature does not fit: check PAPERROUND_MAILGUN_HOOK_KEY")
        try:
            at = datetime.fromtimestamp(int(said.timestamp), UTC)
        except (ValueError, OverflowError, OSError):
            raise ForgedCall("the signature has no time") from None
        check_age(at, settings, now)
        event = understood(_Body, call.body).event_data
        kind, code = _kind(event)
        if kind is None:
            return []
        return [
            Return(
                kind,
                "mailgun",
                f"mailgun {said.token}",
                delivery_id=delivery_of(event.envelope.sender, settings),
                email=event.recipient,
                message_id=event.message.headers.message_id.strip("<> ") or None,
                code=code,
                diagnostic=event.delivery_status.message or event.delivery_status.description,
            )
        ]


def _kind(event: _Event) -> tuple[ReturnKind | None, str]:
    match event.event:
        case "complained":
            return ReturnKind.COMPLAINT, ""
        case "unsubscribed":
            return ReturnKind.UNSUBSCRIBE, ""
        case "failed" if event.severity == "permanent":
            status = event.delivery_status
            code = status_codes.most_telling(status.enhanced_code, f"{status.code} {status.message}") or ""
            return _SUPPRESSED.get(event.reason) or permanent(code or None), code
    # A temporary failure is tried again by Mailgun; it reports a permanent one when it gives up.
    return None, ""
