"""Postmark: JSON, vouched for by the login in the address that it calls (it signs nothing)."""

from __future__ import annotations

import base64
import hmac
from datetime import datetime
from typing import Final

from service.database.tables import ReturnKind
from service.papers.fetching import Fetcher
from service.returns.hooks.call import Call, ForgedCall, Loose, understood
from service.settings import Settings
from service.subscribers import status_codes
from service.subscribers.returned import Return

_KINDS: Final = {
    "HardBounce": ReturnKind.HARD_BOUNCE,
    "BadEmailAddress": ReturnKind.HARD_BOUNCE,
    "SoftBounce": ReturnKind.SOFT_BOUNCE,
    "DnsError": ReturnKind.SOFT_BOUNCE,
    "Transient": ReturnKind.SOFT_BOUNCE,
    "Unknown": ReturnKind.SOFT_BOUNCE,
    "Blocked": ReturnKind.REFUSAL,
    "SpamNotification": ReturnKind.REFUSAL,
    "VirusNotification": ReturnKind.REFUSAL,
    "DMARCPolicy": ReturnKind.REFUSAL,
    "SMTPApiError": ReturnKind.REFUSAL,
    "SpamComplaint": ReturnKind.COMPLAINT,
    "Unsubscribe": ReturnKind.UNSUBSCRIBE,
}
"""Kinds of bounces; the others (AutoResponder, Subscribe, AddressChange and the like) ask nothing of us."""


class _Record(Loose):
    RecordType: str
    ID: str = ""
    Type: str = ""
    Email: str = ""
    Details: str | None = None
    Description: str | None = None
    # Of a SubscriptionChange:
    MessageID: str | None = None
    Recipient: str = ""
    Origin: str = ""
    SuppressionReason: str | None = None
    SuppressSending: bool = False
    ChangedAt: str = ""


class Postmark:
    """See the module."""

    def configured(self, settings: Settings) -> bool:
        return settings.postmark_hook_login is not None

    def read(self, call: Call, settings: Settings, _fetcher: Fetcher, _now: datetime) -> list[Return]:
        logins = settings.postmark_hook_login.get_secret_value().split() if settings.postmark_hook_login else []
        given = call.headers.get("authorization", "").encode()
        if not any(hmac.compare_digest(given, b"Basic " + base64.b64encode(login.encode())) for login in logins):
            raise ForgedCall("the login does not fit: check PAPERROUND_POSTMARK_HOOK_LOGIN")
        record = understood(_Record, call.body)
        said = record.Details or record.Description or ""
        match record.RecordType:
            case "Bounce" | "SpamComplaint":
                kind = _KINDS.get("SpamComplaint" if record.RecordType == "SpamComplaint" else record.Type)
                email, key = record.Email, f"postmark {record.RecordType} {record.ID}"
            case "SubscriptionChange" if record.SuppressSending:
                kind, email = _suppressed(record), record.Recipient
                key = f"postmark {record.RecordType} {record.MessageID} {record.Recipient} {record.ChangedAt}"
            case _:
                return []
        if kind is None or not email:
            return []
        code = status_codes.found_in(said) or ""
        return [Return(kind, "postmark", key, email=email, code=code, diagnostic=said)]


def _suppressed(record: _Record) -> ReturnKind | None:
    """Why Postmark sends no more; what an operator did there stays there."""
    if record.SuppressionReason == "ManualSuppression":
        return ReturnKind.UNSUBSCRIBE if record.Origin == "Recipient" else None
    return {"HardBounce": ReturnKind.HARD_BOUNCE, "SpamComplaint": ReturnKind.COMPLAINT}.get(
        record.SuppressionReason or ""
    )
