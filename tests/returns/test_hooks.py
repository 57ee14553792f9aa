"""Calls of providers, signed by keys made here: what is believed, and what becomes of the reader."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.database import Database
from service.database.tables import ReaderState
from service.papers.fetching import Fetcher, FetchError
from service.returns import hooks
from service.returns.hooks import Call, ForgedCall, HookError, MalformedCall
from service.settings import Settings, SettingsError
from service.subscribers import returned
from service.web.app import create_app
from tests.returns.conftest import ADA, MailedReader

TOPIC = "arn:aws:sns:eu-west-1:123456789012:returns"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123.pem"
SNS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
SENDGRID_PUBLIC = base64.b64encode(
    SENDGRID_KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()


def certificate(days: int = 1) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.invented.example")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(SNS_KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .sign(SNS_KEY, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class Far(Fetcher):
    """The far end of the network."""

    def __init__(self, settings: Settings, answers: Mapping[str, bytes]) -> None:
        super().__init__(settings)
        self.asked: list[str] = []
        self._answers = answers

    def get(self, url: str, query: Mapping[str, str] | None = None, *, tries: int = 1) -> bytes:
        assert (query, tries) == (None, 1)
        self.asked.append(url)
        if url not in self._answers:
            raise FetchError(f"{url} answered 404")
        return self._answers[url]


@pytest.fixture
def hooked(mailed: MailedReader) -> MailedReader:
    """A mailed reader of a site to which every provider reports."""
    settings = mailed.settings.model_copy(
        update={
            "ses_topic_arn": TOPIC,
            "postmark_hook_login": SecretStr("postmark:secret-of-the-tests"),
            "sendgrid_hook_key": SENDGRID_PUBLIC,
            "mailgun_hook_key": SecretStr("key-of-the-tests"),
        }
    )
    return MailedReader(mailed.database, settings, mailed.id, mailed.delivery_id, mailed.message_id)


@pytest.fixture(autouse=True)
def no_certificate_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks.PROVIDERS["ses"], "_certificates", {})


# ---- how each provider signs -----------------------------------------------------------------------------------------


def sns(message: object, *, version: str = "2", **changed: str) -> Call:
    envelope = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.123Z"),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    } | changed
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    if envelope["Type"] == "Notification":
        names = [name for name in names if name not in ("SubscribeURL", "Token")]
    text = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 (SNS's version 1)
    signature = SNS_KEY.sign(text.encode(), padding.PKCS1v15(), algorithm)
    envelope["Signature"] = base64.b64encode(signature).decode()
    return Call({}, json.dumps(envelope).encode())


def sendgrid(*events: object, at: float | None = None) -> Call:
    body = json.dumps(events).encode()
    timestamp = str(int(time.time() if at is None else at))
    signature = SENDGRID_KEY.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return Call(
        {
            "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": timestamp,
        },
        body,
    )


def mailgun(event: object, *, at: float | None = None, once: str = "once-1", key: str = "key-of-the-tests") -> Call:
    timestamp = str(int(time.time() if at is None else at))
    signature = hmac.new(key.encode(), f"{timestamp}{once}".encode(), hashlib.sha256).hexdigest()
    body = {"signature": {"timestamp": timestamp, "token": once, "signature": signature}, "event-data": event}
    return Call({}, json.dumps(body).encode())


def postmark(record: object, login: str = "postmark:secret-of-the-tests") -> Call:
    authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
    return Call({"authorization": authorization}, json.dumps(record).encode())


def call(hooked: MailedReader, provider: str, made: Call, far: Fetcher | None = None) -> int:
    far = far or Far(hooked.settings, {CERTIFICATE_URL: certificate()})
    return hooks.take_call(hooked.database, hooked.settings, provider, made, fetcher=far)


# ---- what they report ------------------------------------------------------------------------------------------------


def ses_bounce(kind: str, status: str, sub: str = "General", source: str = "digest@papers.example") -> Call:
    recipient = {
        "emailAddress": ADA,
        "status": status,
        "action": "failed",
        "diagnosticCode": f"smtp; 550 {status} <{ADA}>",
    }
    bounce = {"bounceType": kind, "bounceSubType": sub, "bouncedRecipients": [recipient], "feedbackId": "f-1"}
    return sns({"notificationType": "Bounce", "bounce": bounce, "mail": {"source": source, "messageId": "0000"}})


def ses_complaint(feedback: str | None) -> Call:
    complaint = {
        "complainedRecipients": [{"emailAddress": ADA}],
        "complaintFeedbackType": feedback,
        "feedbackId": "f-2",
    }
    return sns({"eventType": "Complaint", "complaint": complaint, "mail": {}}, version="1")


def sg(event: str, **fields: str) -> Call:
    return sendgrid({"event": event, "email": ADA, "sg_event_id": "s-1", "timestamp": 1} | fields)


def mg(event: str, severity: str = "", enhanced: str = "", reason: str = "bounce") -> Call:
    status: dict[str, Any] = {"code": 550, "message": f"no such {ADA}", "attempt-no": 1}
    if enhanced:
        status["enhanced-code"] = enhanced
    about = {"event": event, "severity": severity, "reason": reason, "recipient": ADA, "delivery-status": status}
    return mailgun(about | {"message": {"headers": {"message-id": "x@papers.example"}}})


def pm(kind: str, details: str = "") -> Call:
    return postmark({"RecordType": "Bounce", "ID": 42, "Type": kind, "Email": ADA, "Details": details, "Tag": None})


def pm_change(reason: str, origin: str = "Recipient", suppress: bool = True) -> Call:
    return postmark(
        {
            "RecordType": "SubscriptionChange",
            "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
            "Recipient": ADA,
            "Origin": origin,
            "SuppressSending": suppress,
            "SuppressionReason": reason if suppress else None,
            "ChangedAt": "2026-11-24T10:00:00Z",
        }
    )


HARD, SOFT, REFUSAL, COMPLAINT, LEFT = "hard bounce", "soft bounce", "refusal", "complaint", "unsubscribe"
REPORTS: dict[str, tuple[str, Callable[[], Call], str | None]] = {
    "ses permanent": ("ses", lambda: ses_bounce("Permanent", "5.1.1"), HARD),
    "ses permanent without a code": ("ses", lambda: ses_bounce("Permanent", "5.0.0"), HARD),
    "ses permanent that is policy": ("ses", lambda: ses_bounce("Permanent", "5.7.1"), REFUSAL),
    "ses full": ("ses", lambda: ses_bounce("Transient", "5.2.2", "MailboxFull"), SOFT),
    "ses content": ("ses", lambda: ses_bounce("Transient", "5.6.0", "ContentRejected"), REFUSAL),
    "ses complaint": ("ses", lambda: ses_complaint("abuse"), COMPLAINT),
    "ses untyped complaint": ("ses", lambda: ses_complaint(None), COMPLAINT),
    "ses not spam": ("ses", lambda: ses_complaint("not-spam"), None),
    "ses delivery": ("ses", lambda: sns({"notificationType": "Delivery", "mail": {}, "delivery": {}}), None),
    "sendgrid bounce": ("sendgrid", lambda: sg("bounce", type="bounce", status="5.1.1", reason="550 5.1.1"), HARD),
    "sendgrid bounce, policy": ("sendgrid", lambda: sg("bounce", type="bounce", status="5.7.1"), REFUSAL),
    "sendgrid blocked": ("sendgrid", lambda: sg("bounce", type="blocked", status="5.1.1"), SOFT),
    "sendgrid blocked, policy": ("sendgrid", lambda: sg("bounce", type="blocked", status="5.7.1"), REFUSAL),
    "sendgrid deferred": ("sendgrid", lambda: sg("deferred", response="400 later"), None),
    "sendgrid dropped": ("sendgrid", lambda: sg("dropped", reason="Bounced Address"), HARD),
    "sendgrid spam": ("sendgrid", lambda: sg("spamreport"), COMPLAINT),
    "sendgrid unsubscribe": ("sendgrid", lambda: sg("unsubscribe"), LEFT),
    "sendgrid open": ("sendgrid", lambda: sg("open"), None),
    "mailgun permanent": ("mailgun", lambda: mg("failed", "permanent", "5.1.1"), HARD),
    "mailgun permanent, bare 550": ("mailgun", lambda: mg("failed", "permanent"), HARD),
    "mailgun permanent, full": ("mailgun", lambda: mg("failed", "permanent", "5.2.2"), SOFT),
    "mailgun temporary": ("mailgun", lambda: mg("failed", "temporary", "4.2.2"), None),
    "mailgun suppressed": ("mailgun", lambda: mg("failed", "permanent", reason="suppress-complaint"), COMPLAINT),
    "mailgun complained": ("mailgun", lambda: mg("complained"), COMPLAINT),
    "mailgun unsubscribed": ("mailgun", lambda: mg("unsubscribed"), LEFT),
    "mailgun opened": ("mailgun", lambda: mg("opened"), None),
    "postmark hard": ("postmark", lambda: pm("HardBounce", f"smtp;550 5.1.1 {ADA}"), HARD),
    "postmark soft": ("postmark", lambda: pm("SoftBounce"), SOFT),
    "postmark blocked": ("postmark", lambda: pm("Blocked"), REFUSAL),
    "postmark autoresponder": ("postmark", lambda: pm("AutoResponder"), None),
    "postmark complaint": (
        "postmark",
        lambda: postmark({"RecordType": "SpamComplaint", "ID": 7, "Email": ADA}),
        COMPLAINT,
    ),
    "postmark left": ("postmark", lambda: pm_change("ManualSuppression"), LEFT),
    "postmark operator": ("postmark", lambda: pm_change("ManualSuppression", "Admin"), None),
    "postmark reactivated": ("postmark", lambda: pm_change("", suppress=False), None),
    "postmark suppressed": ("postmark", lambda: pm_change("SpamComplaint"), COMPLAINT),
}


@pytest.mark.parametrize("name", REPORTS)
def test_each_report_becomes_the_right_event_once(hooked: MailedReader, name: str) -> None:
    provider, make, kind = REPORTS[name]
    made = make()
    assert [call(hooked, provider, made) for _ in range(2)] == [1 if kind else 0, 0]
    with hooked.database.transaction() as session:
        events = returned.of(session, hooked.id)
    assert [event.kind for event in events] == ([kind] if kind else [])
    for event in events:
        assert (event.source, event.delivery_id) == (provider, hooked.delivery_id)
        assert "@" not in event.diagnostic
    gone = {HARD: ReaderState.PENDING, COMPLAINT: ReaderState.UNSUBSCRIBED, LEFT: ReaderState.UNSUBSCRIBED}
    assert hooked.state is gone.get(kind or "", ReaderState.ACTIVE)


def test_the_return_address_tells_the_delivery_even_where_the_address_is_another(hooked: MailedReader) -> None:
    made = ses_bounce("Permanent", "5.1.1", source=hooked.return_address)
    made = sns(json.loads(made.body)["Message"].replace(ADA, "forwarded@example.net"))
    assert call(hooked, "ses", made) == 1
    assert hooked.state is ReaderState.PENDING


def test_a_subscription_of_our_topic_is_confirmed_and_no_other(hooked: MailedReader) -> None:
    yes = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    far = Far(hooked.settings, {CERTIFICATE_URL: certificate(), yes: b"<ok/>"})
    asked = {"Type": "SubscriptionConfirmation", "Token": "t"}
    assert call(hooked, "ses", sns("Do you?", SubscribeURL=yes, **asked), far) == 0
    assert far.asked == [CERTIFICATE_URL, yes]
    elsewhere = sns("Do you?", SubscribeURL="https://evil.example/?x=sns.eu-west-1.amazonaws.com", **asked)
    with pytest.raises(ForgedCall, match="SubscribeURL"):
        call(hooked, "ses", elsewhere, far)
    assert far.asked == [CERTIFICATE_URL, yes]


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
        "https://s3.amazonaws.com/x.pem",
        "https://[broken/x.pem",
        "file:///etc/passwd",
    ],
)
def test_a_certificate_from_anywhere_else_is_not_even_fetched(hooked: MailedReader, url: str) -> None:
    far = Far(hooked.settings, {url: certificate()})
    with pytest.raises(ForgedCall, match="SigningCertURL"):
        call(hooked, "ses", sns({}, SigningCertURL=url), far)
    assert far.asked == []


@pytest.mark.parametrize("pem", [b"not a certificate", None])
def test_a_certificate_that_cannot_be_had_proves_nothing(hooked: MailedReader, pem: bytes | None) -> None:
    far = Far(hooked.settings, {CERTIFICATE_URL: pem} if pem else {})
    with pytest.raises(ForgedCall, match="cannot be read"):
        call(hooked, "ses", sns({}), far)


def test_an_expired_certificate_proves_nothing(hooked: MailedReader) -> None:
    with pytest.raises(ForgedCall, match="not valid now"):
        call(hooked, "ses", sns({}), Far(hooked.settings, {CERTIFICATE_URL: certificate(days=-1)}))


def test_another_topic_proves_nothing(hooked: MailedReader) -> None:
    with pytest.raises(ForgedCall, match="another topic"):
        call(hooked, "ses", sns({}, TopicArn=TOPIC + "x"))


def altered(made: Call) -> Call:
    return Call(made.headers, made.body.replace(b"ada@", b"eve@"))


FORGED: dict[str, tuple[str, Callable[[], Call]]] = {
    "ses altered": ("ses", lambda: altered(ses_bounce("Permanent", "5.1.1"))),
    "ses old": ("ses", lambda: sns({}, Timestamp="2020-01-01T00:00:00.000Z")),
    "ses from the future": ("ses", lambda: sns({}, Timestamp="2220-01-01T00:00:00.000Z")),
    "sendgrid altered": ("sendgrid", lambda: altered(sg("spamreport"))),
    "sendgrid unsigned": ("sendgrid", lambda: Call({}, b"[]")),
    "sendgrid old": ("sendgrid", lambda: sendgrid(at=time.time() - 90_000)),
    "sendgrid far": ("sendgrid", lambda: sendgrid(at=time.time() + 3_600)),
    "mailgun wrong key": ("mailgun", lambda: mailgun({"event": "complained", "recipient": ADA}, key="another")),
    "mailgun old": ("mailgun", lambda: mailgun({"event": "complained", "recipient": ADA}, at=time.time() - 90_000)),
    "mailgun empty token": ("mailgun", lambda: mailgun({"event": "complained", "recipient": ADA}, once="")),
    "postmark wrong": ("postmark", lambda: postmark({}, "postmark:wrong")),
    "postmark none": ("postmark", lambda: Call({}, b"{}")),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_not_signed_now_by_the_provider_is_refused(hooked: MailedReader, name: str) -> None:
    provider, make = FORGED[name]
    with pytest.raises(ForgedCall):
        call(hooked, provider, make())
    assert hooked.state is ReaderState.ACTIVE


def test_a_mailgun_signature_carries_one_event_only(hooked: MailedReader) -> None:
    """It does not cover the event: whoever saw one call could write another body around its signature."""
    seen = mg("unsubscribed")
    assert call(hooked, "mailgun", seen) == 1
    assert call(hooked, "mailgun", Call(seen.headers, seen.body.replace(b"unsubscribed", b"complained"))) == 0
    assert hooked.suppressed is None


@pytest.mark.parametrize(
    ("provider", "made"),
    [
        ("sendgrid", lambda: sendgrid("no object")),
        ("sendgrid", lambda: sendgrid({"no": "event"})),
        ("mailgun", lambda: mailgun("no object")),
        ("postmark", lambda: postmark([1])),
        ("ses", lambda: sns("no JSON")),
        ("ses", lambda: sns({}, Type="Nonsense")),
    ],
)
def test_what_a_provider_never_sends_is_one_line(hooked: MailedReader, provider: str, made: Callable[[], Call]) -> None:
    with pytest.raises(MalformedCall) as raised:
        call(hooked, provider, made())
    assert "\n" not in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.just(ADA),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["event", "email", "recipient", "RecordType", "Type", "signature", "bounce", "mail", "status"]
            )
            | st.text(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(JSON)
def test_no_signed_body_raises_anything_but_its_own_error(hooked: MailedReader, body: object) -> None:
    provider_calls = {
        "ses": [Call({}, json.dumps(body).encode()), sns(json.dumps(body))],
        "sendgrid": [sendgrid(body)],
        "mailgun": [mailgun(body), Call({}, json.dumps(body).encode())],
        "postmark": [postmark(body)],
    }
    far = Far(hooked.settings, {CERTIFICATE_URL: certificate()})
    for name, calls in provider_calls.items():
        for made in calls:
            try:
                hooks.PROVIDERS[name].read(made, hooked.settings, far, datetime.now(UTC))
            except HookError:
                continue


def test_two_values_are_taken_while_one_is_changed_for_the_other(hooked: MailedReader) -> None:
    strange = ec.generate_private_key(ec.SECP256R1()).public_key()
    written = strange.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    both = hooked.settings.model_copy(
        update={
            "postmark_hook_login": SecretStr("postmark:another postmark:secret-of-the-tests"),
            "sendgrid_hook_key": f"{base64.b64encode(written).decode()} {SENDGRID_PUBLIC}",
            "mailgun_hook_key": SecretStr("another key-of-the-tests"),
        }
    )
    far = Far(both, {})
    calls = {
        "postmark": postmark({"RecordType": "Open"}),
        "sendgrid": sendgrid(),
        "mailgun": mailgun({"event": "opened"}),
    }
    for name, call in calls.items():
        assert hooks.PROVIDERS[name].read(call, both, far, datetime.now(UTC)) == []
    for name, call in {
        "postmark": postmark({"RecordType": "Open"}, login="postmark:another postmark:secret-of-the-tests"),
        "mailgun": mailgun({"event": "opened"}, key="another key-of-the-tests"),
    }.items():
        with pytest.raises(ForgedCall):
            hooks.PROVIDERS[name].read(call, both, far, datetime.now(UTC))


# ---- at the web's edge -----------------------------------------------------------------------------------------------


def test_a_route_is_there_only_for_a_provider_that_is_set_up(settings: Settings, database: Database) -> None:
    one = settings.model_copy(update={"mailgun_hook_key": SecretStr("key-of-the-tests")})
    with TestClient(create_app(one, database), base_url="https://papers.example") as browser:
        assert browser.post("/hooks/mailgun", content=mailgun({"event": "opened"}).body).status_code == 200
        assert browser.post("/hooks/mailgun", content=mailgun({"event": "opened"}, key="x").body).status_code == 403
        assert browser.post("/hooks/mailgun", content=b"{").status_code == 400
        assert browser.post("/hooks/ses", content=b"{}").status_code == 404
        assert browser.post("/hooks/nonsense", content=b"{}").status_code == 404
        assert browser.get("/hooks/mailgun").status_code == 405
    assert hooks.active(settings) == []


def test_a_large_batch_gets_through_the_door_and_an_endless_one_does_not(hooked: MailedReader) -> None:
    many = sendgrid(*({"event": "open", "email": ADA, "sg_event_id": f"{n}", "x": "y" * 400} for n in range(2_000)))
    with TestClient(create_app(hooked.settings, hooked.database), base_url="https://papers.example") as browser:
        assert len(many.body) > 800_000
        assert browser.post("/hooks/sendgrid", content=many.body, headers=dict(many.headers)).status_code == 200
        assert browser.post("/hooks/sendgrid", content=b"x" * 3_000_000).status_code == 413


def test_a_key_that_is_none_is_told_at_the_start(settings: Settings, database: Database) -> None:
    wrong = settings.model_copy(update={"sendgrid_hook_key": "nonsense"})
    with pytest.raises(SettingsError, match="PAPERROUND_SENDGRID_HOOK_KEY"):
        create_app(wrong, database)
