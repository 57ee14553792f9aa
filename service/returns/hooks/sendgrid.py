"""SendGrid: a list of events, signed with ECDSA over timestamp and body ("Signed Event Webhook")."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import Field

from service.database.tables import ReturnKind
from service.papers.fetching import Fetcher
from service.returns.hooks.call import Call, ForgedCall, Loose, check_age, permanent, understood
from service.settings import Settings, SettingsError
from service.subscribers import status_codes
from service.subscribers.returned import Return

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


class _Event(Loose):
    event: str
    email: str = ""
    sg_event_id: str = ""
    type: str = ""
    status: str = ""
    reason: str = ""
    smtp_id: str = Field(default="", validation_alias="smtp-id")
    """Message-ID of the mail."""


class SendGrid:
    """See the module."""

    def configured(self, settings: Settings) -> bool:
        """Raises :class:`SettingsError` for a key that is none."""
        return bool(_keys(settings))

    def read(self, call: Call, settings: Settings, _fetcher: Fetcher, now: datetime) -> list[Return]:
        timestamp = call.headers.get(_TIMESTAMP, "")
        try:
            signature = base64.b64decode(call.headers.get(_SIGNATURE, ""), validate=True)
            at = datetime.fromtimestamp(int(timestamp), UTC)
        except (binascii.Error, ValueError, OverflowError, OSError):
            raise ForgedCall("the signature does not fit") from None
        if not any(_signed(key, signature, timestamp.encode() + call.body) for key in _keys(settings)):
            raise ForgedCall("the signature does not fit")
        check_age(at, settings, now)
        events = []
        for each in understood(list[_Event], call.body):
            kind, code = _kind(each)
            if kind is not None and each.email and each.sg_event_id:
                key = f"sendgrid {each.sg_event_id}"
                events.append(
                    Return(
                        kind,
                        "sendgrid",
                        key,
                        email=each.email,
                        message_id=each.smtp_id.strip("<> ") or None,
                        code=code,
                        diagnostic=each.reason,
                    )
                )
        return events


def _signed(key: ec.EllipticCurvePublicKey, signature: bytes, body: bytes) -> bool:
    try:
        key.verify(signature, body, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _keys(settings: Settings) -> list[ec.EllipticCurvePublicKey]:
    """Raises :class:`SettingsError` for a key that is none."""
    return [_key(written) for written in settings.sendgrid_hook_key.split()]


def _key(written: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(base64.b64decode(written, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SettingsError("PAPERROUND_SENDGRID_HOOK_KEY is not usable: copy the verification key whole")
    return key


def _kind(event: _Event) -> tuple[ReturnKind | None, str]:
    code = status_codes.most_telling(event.status, event.reason) or ""
    match event.event:
        case "bounce" if event.type == "blocked":
            # Blocked: refused at this time, and never a word about the address.
            refused = status_codes.kind_of(code) is ReturnKind.REFUSAL
            return ReturnKind.REFUSAL if refused else ReturnKind.SOFT_BOUNCE, code
        case "bounce":
            return permanent(code or None), code
        case "dropped":
            return _dropped(event.reason), code
        case "spamreport":
            return ReturnKind.COMPLAINT, ""
        case "unsubscribe" | "group_unsubscribe":
            return ReturnKind.UNSUBSCRIBE, ""
    # "deferred" is tried again by SendGrid; it reports a bounce when it gives up.
    return None, ""


def _dropped(reason: str) -> ReturnKind | None:
    """Not sent, because of what SendGrid knows of the address."""
    return {
        "bounced address": ReturnKind.HARD_BOUNCE,
        "invalid": ReturnKind.HARD_BOUNCE,
        "spam reporting address": ReturnKind.COMPLAINT,
        "unsubscribed address": ReturnKind.UNSUBSCRIBE,
    }.get(reason.strip().lower(), ReturnKind.REFUSAL)
