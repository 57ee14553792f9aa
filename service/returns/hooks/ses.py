"""Amazon SES by way of SNS: signed JSON (SNS "Verifying the signatures of Amazon SNS messages").

The signature is checked with the certificate that the message names, so the name is checked first: https, a host of SNS
and nobody else's. Messages of another topic than the configured one are refused: anybody can own a topic.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from service.database.tables import ReturnKind
from service.papers.fetching import Fetcher, FetchError
from service.returns.hooks.call import (
    Call,
    ForgedCall,
    Loose,
    MalformedCall,
    check_age,
    delivery_of,
    permanent,
    understood,
)
from service.settings import Settings
from service.subscribers import status_codes
from service.subscribers.returned import Return

log = structlog.get_logger(__name__)

_HOST: Final = re.compile(r"sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?")
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 (SNS's default)
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_OUR_DOING: Final = frozenset({"ContentRejected", "AttachmentRejected", "MessageTooLarge"})
_MOST_CERTIFICATES: Final = 20


class _Envelope(Loose):
    Type: str
    MessageId: str
    TopicArn: str
    Message: str
    Timestamp: datetime
    SignatureVersion: str
    Signature: str
    SigningCertURL: str
    Subject: str | None = None
    SubscribeURL: str | None = None
    Token: str | None = None


class _Raw(Loose):
    """The timestamp as written, since it is signed as written."""

    Timestamp: str


class _Recipient(Loose):
    emailAddress: str  # noqa: N815 (SES's name)
    status: str = ""
    diagnosticCode: str = ""  # noqa: N815


class _Bounce(Loose):
    bounceType: str  # noqa: N815
    bounceSubType: str = ""  # noqa: N815
    bouncedRecipients: tuple[_Recipient, ...] = ()  # noqa: N815
    feedbackId: str  # noqa: N815


class _Complaint(Loose):
    complainedRecipients: tuple[_Recipient, ...] = ()  # noqa: N815
    complaintFeedbackType: str | None = None  # noqa: N815
    feedbackId: str  # noqa: N815


class _CommonHeaders(Loose):
    messageId: str = ""  # noqa: N815


class _Mail(Loose):
    source: str = ""
    commonHeaders: _CommonHeaders = _CommonHeaders()  # noqa: N815


class _Notification(Loose):
    notificationType: str = ""  # noqa: N815
    eventType: str = ""  # noqa: N815
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None
    mail: _Mail = _Mail()


class Ses:
    """See the module."""

    def __init__(self) -> None:
        self._certificates: dict[str, x509.Certificate] = {}

    def configured(self, settings: Settings) -> bool:
        return bool(settings.ses_topic_arn)

    def read(self, call: Call, settings: Settings, fetcher: Fetcher, now: datetime) -> list[Return]:
        envelope = understood(_Envelope, call.body)
        if envelope.TopicArn != settings.ses_topic_arn:
            raise ForgedCall("a message of another topic: check PAPERROUND_SES_TOPIC_ARN")
        self._verify(envelope, understood(_Raw, call.body).Timestamp, fetcher, now)
        at = envelope.Timestamp if envelope.Timestamp.tzinfo else envelope.Timestamp.replace(tzinfo=UTC)
        check_age(at, settings, now)
        if envelope.Type == "SubscriptionConfirmation":
            _subscribe(envelope, fetcher)
            return []
        return _events(understood(_Notification, envelope.Message), settings)

    def _verify(self, envelope: _Envelope, timestamp: str, fetcher: Fetcher, now: datetime) -> None:
        names = _SIGNED.get(envelope.Type)
        algorithm = _HASHES.get(envelope.SignatureVersion)
        if names is None or algorithm is None:
            raise MalformedCall("an SNS message of a kind that is not served")
        values = {**envelope.model_dump(), "Timestamp": timestamp}
        signed = "".join(f"{name}\n{values[name]}\n" for name in names if values[name] is not None)
        key = self._certificate(envelope.SigningCertURL, fetcher, now).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise ForgedCall("a certificate that SNS does not use")
        try:
            signature = base64.b64decode(envelope.Signature, validate=True)
            key.verify(signature, signed.encode(), padding.PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error, ValueError):
            raise ForgedCall("the signature does not fit") from None

    def _certificate(self, url: str, fetcher: Fetcher, now: datetime) -> x509.Certificate:
        _check_host(url, "SigningCertURL")
        found = self._certificates.get(url)
        if found is None:
            try:
                found = x509.load_pem_x509_certificate(fetcher.get(url))
            except (FetchError, ValueError) as error:
                raise ForgedCall(f"the signing certificate cannot be read ({type(error).__name__})") from None
            if len(self._certificates) >= _MOST_CERTIFICATES:
                self._certificates.clear()
            self._certificates[url] = found
        if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
            raise ForgedCall("the signing certificate is not valid now")
        return found


def _check_host(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "https" and _HOST.fullmatch(parts.netloc.lower()) is not None
    except ValueError:
        fits = False
    if not fits:
        raise ForgedCall(f"{name} is not at SNS")


def _subscribe(envelope: _Envelope, fetcher: Fetcher) -> None:
    """Our topic asks whether to call here: the one fetch that says yes."""
    url = envelope.SubscribeURL or ""
    _check_host(url, "SubscribeURL")
    try:
        fetcher.get(url)
    except FetchError as error:
        raise MalformedCall(f"the subscription cannot be confirmed ({error})") from None
    log.info("hooks.subscribed", provider="ses")


def _events(said: _Notification, settings: Settings) -> list[Return]:
    kind = said.notificationType or said.eventType
    delivery = delivery_of(said.mail.source, settings)
    message_id = said.mail.commonHeaders.messageId.strip("<> ") or None
    events: list[tuple[ReturnKind, str, _Recipient, str]] = []
    if kind == "Bounce" and said.bounce is not None:
        events = [
            (*_bounced(said.bounce, each), each, said.bounce.feedbackId) for each in said.bounce.bouncedRecipients
        ]
    elif kind == "Complaint" and said.complaint is not None:
        about = said.complaint
        if about.complaintFeedbackType not in ("not-spam", "auth-failure"):
            events = [(ReturnKind.COMPLAINT, "", each, about.feedbackId) for each in about.complainedRecipients]
    return [
        Return(
            what,
            "ses",
            f"ses {feedback_id} {each.emailAddress}",
            delivery_id=delivery,
            email=each.emailAddress,
            message_id=message_id,
            code=code,
            diagnostic=each.diagnosticCode,
        )
        for what, code, each, feedback_id in events
    ]


def _bounced(bounce: _Bounce, recipient: _Recipient) -> tuple[ReturnKind, str]:
    code = status_codes.most_telling(recipient.status, recipient.diagnosticCode)
    if bounce.bounceType == "Permanent":
        return permanent(code), code or "5.0.0"
    if bounce.bounceSubType in _OUR_DOING:
        return ReturnKind.REFUSAL, code or ""
    return ReturnKind.SOFT_BOUNCE, code or "4.0.0"
