"""The listener: real SMTP and LMTP conversations, and a digest that comes back."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import select

from service.database import Database
from service.database.tables import Delivery, DeliveryState, ReaderState, SuppressionReason
from service.delivery.sender import send_due
from service.digests import plan
from service.returns import inbound
from service.settings import Settings, SettingsError
from service.subscribers import returned
from service.subscribers.return_addresses import ReturnAddresses
from tests import factories
from tests.delivery.certificates import server_certificate
from tests.delivery.servers import in_thread, serving
from tests.returns.conftest import ADA, MAILS, MailedReader


def listening(database: Database, settings: Settings) -> AbstractContextManager[int]:
    """The listener in a thread of its own; its port."""
    return in_thread(lambda: inbound.listening(database, settings, port=0))


@pytest.fixture
def port(mailed: MailedReader) -> Iterator[int]:
    with listening(mailed.database, mailed.settings) as port:
        yield port


def code(call: tuple[int, bytes]) -> str:
    return f"{call[0]} {call[1].split()[0].decode()}"


def test_only_addresses_of_ours_are_taken(mailed: MailedReader, port: int) -> None:
    good = mailed.return_address
    forged = good.replace(good[4], "x" if good[4] != "x" else "y", 1)
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo("mx.example.org")
        client.mail("")
        assert code(client.rcpt("somebody@elsewhere.example")) == "550 5.7.1"
        assert code(client.rcpt("info@returns.papers.example")) == "550 5.1.1"
        assert code(client.rcpt(forged)) == "550 5.1.1"
        for address in (
            good,
            good.upper(),
            mailed.unsubscribe_address,
            "subscribe@returns.papers.example",
            "postmaster",
        ):
            assert code(client.rcpt(address)) == "250 2.1.5"
        for _ in range(inbound.MOST_RECIPIENTS - 5):
            client.rcpt(good)
        assert code(client.rcpt(good)) == "452 4.5.3"


def test_a_bounce_is_taken_with_its_transaction_committed(mailed: MailedReader, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("", [mailed.return_address], mailed.mail("postfix-unknown-user"))
        assert mailed.suppressed is SuppressionReason.HARD_BOUNCE


def test_a_person_hears_that_nobody_reads_this_and_a_bounce_is_never_bounced(port: int) -> None:
    letter = b"From: bob@example.org\r\nSubject: Hello\r\n\r\nDo you read this?\r\n"
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("bob@example.org", ["postmaster@returns.papers.example"], letter)
        assert refused.value.smtp_code == 550
        client.sendmail("", ["postmaster@returns.papers.example"], letter)


def test_a_mail_that_is_too_large_is_refused(mailed: MailedReader, receiving: Settings) -> None:
    small = receiving.model_copy(update={"inbound_largest_bytes": 65_536})
    with listening(mailed.database, small) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            client.sendmail("", [mailed.return_address], b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 7_000)
        assert refused.value.smtp_code == 552


def test_more_sign_ups_than_are_taken_come_again_later(mailed: MailedReader, receiving: Settings) -> None:
    none = receiving.model_copy(update={"subscribe_mails_per_hour": 0})
    with listening(mailed.database, none) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("b@example.org", ["subscribe@returns.papers.example"], b"From: b@example.org\r\n\r\n")
        assert refused.value.smtp_code == 451


def test_a_database_that_is_away_costs_no_mail(mailed: MailedReader, receiving: Settings) -> None:
    with Database("postgresql://nobody@127.0.0.1:1/none") as away, listening(away, receiving) as port:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client, pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("", [mailed.return_address], mailed.mail("postfix-unknown-user"))
        assert refused.value.smtp_code == 451


def test_in_lmtp_each_recipient_has_an_answer(mailed: MailedReader, receiving: Settings) -> None:
    local = receiving.model_copy(update={"inbound_protocol": "lmtp"})
    with listening(mailed.database, local) as port, smtplib.LMTP("127.0.0.1", port) as client:
        client.ehlo("mx.example.org")
        client.mail("")
        client.rcpt(mailed.return_address)
        client.rcpt("postmaster@returns.papers.example")
        assert client.docmd("DATA")[0] == 354
        client.send(mailed.mail("postfix-unknown-user") + b"\r\n.\r\n")
        assert [client.getreply()[0] for _ in range(2)] == [250, 250]
    assert mailed.suppressed is SuppressionReason.HARD_BOUNCE


def test_too_many_conversations_at_once_are_asked_to_come_later(
    mailed: MailedReader, receiving: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "MOST_CONNECTIONS", 1)
    with listening(mailed.database, receiving) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as first:
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            smtplib.SMTP("127.0.0.1", port, timeout=10)
        assert refused.value.smtp_code == 421
        assert first.noop()[0] == 250
    with listening(mailed.database, receiving) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as after:
        assert after.noop()[0] == 250


def test_encryption_is_offered_where_there_is_a_certificate(
    mailed: MailedReader, receiving: Settings, tmp_path: Path
) -> None:
    _, authority = server_certificate(tmp_path, names=("127.0.0.1",))
    encrypted = receiving.model_copy(update={"inbound_tls_certificate": tmp_path / "server.pem"})
    with listening(mailed.database, encrypted) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(authority)))
        client.sendmail("", [mailed.return_address], mailed.mail("postfix-unknown-user"))
    assert mailed.suppressed is SuppressionReason.HARD_BOUNCE
    broken = receiving.model_copy(update={"inbound_tls_certificate": authority})
    with (
        pytest.raises(SettingsError, match="PAPERROUND_INBOUND_TLS_CERTIFICATE"),
        listening_now(mailed.database, broken),
    ):
        pass


def test_without_a_return_domain_it_does_not_start(database: Database, settings: Settings) -> None:
    with pytest.raises(SettingsError, match="PAPERROUND_RETURN_DOMAIN is missing"), listening_now(database, settings):
        pass


@contextmanager
def listening_now(database: Database, settings: Settings) -> Iterator[None]:
    async def serve() -> None:
        async with inbound.listening(database, settings, port=0):
            pass

    asyncio.run(serve())
    yield


# ---- there and back again --------------------------------------------------------------------------------------------


class BouncingMx:
    """A mail server that accepts everything and then finds that nobody lives there: it sends a DSN to the envelope
    sender, as RFC 3464 tells."""

    def __init__(self, inbound_port: int, gone: str) -> None:
        self._port = inbound_port
        self._gone = gone
        self.senders: dict[str, str] = {}
        self.unsubscribes: dict[str, str] = {}

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        sender, recipient = envelope.mail_from or "", envelope.rcpt_tos[0]
        original = message_from_bytes(envelope.original_content or b"")
        self.senders[recipient] = sender
        self.unsubscribes[recipient] = str(original["List-Unsubscribe"])
        if recipient == self._gone:
            await asyncio.to_thread(self._bounce, sender, recipient)
        return "250 2.0.0 queued"

    def _bounce(self, sender: str, recipient: str) -> None:
        report = (MAILS / "postfix-unknown-user.eml").read_text()
        holes = {"RETURN": sender, "RECIPIENT": recipient, "MESSAGE_ID": "x@papers.example", "UNSUBSCRIBE": "mailto:x"}
        for hole, value in holes.items():
            report = report.replace(f"@@{hole}@@", value)
        with smtplib.SMTP("127.0.0.1", self._port, timeout=10) as client:
            client.sendmail("", [sender], report)


def test_a_digest_that_comes_back_suppresses_its_reader_and_nobody_else(
    database: Database, receiving: Settings
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    ada = factories.reader(database, receiving, ADA, queries=["robots"], now=long_ago)
    bob = factories.reader(database, receiving, "bob@example.org", queries=["robots"], now=long_ago)
    factories.edition(database, factories.record("Walking Robots"))
    with listening(database, receiving) as inbound_port:
        mx = BouncingMx(inbound_port, gone=ADA)
        with serving(lambda: SMTP(mx, hostname="mx.invented.example", enable_SMTPUTF8=True)) as mx_port:
            aimed = receiving.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{mx_port}?tls=off"})
            assert plan.plan_due(database, aimed, everyone=True).digests == 2
            assert send_due(database, aimed).sent == 2
    signed = ReturnAddresses(receiving)
    with database.transaction() as session:
        deliveries = dict(session.execute(select(Delivery.reader_id, Delivery.id)).all())
        states = set(session.scalars(select(Delivery.state)).all())
        (event,) = returned.of(session, ada)
        assert returned.of(session, bob) == []
    assert signed.read(mx.senders[ADA]).id == deliveries[ada] == event.delivery_id
    assert signed.read(mx.senders["bob@example.org"]).id == deliveries[bob]
    assert states == {DeliveryState.SENT}
    found = MailedReader(database, receiving, ada, deliveries[ada], "")
    assert (found.state, found.suppressed) == (ReaderState.PENDING, SuppressionReason.HARD_BOUNCE)
    other = MailedReader(database, receiving, bob, deliveries[bob], "", "bob@example.org")
    assert (other.state, other.suppressed) == (ReaderState.ACTIVE, None)
    # The mailto: beside the https: URI leads back to the same reader.
    https, mailto = mx.unsubscribes["bob@example.org"].replace("\r\n", "").split(",")
    assert https.startswith("<https://papers.example/unsubscribe/")
    assert signed.read(mailto.strip(" <>").removeprefix("mailto:").partition("?")[0]).id == bob
