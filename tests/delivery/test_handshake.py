"""Encryption and login against a real server (aiosmtpd)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from service.delivery.handshake import Capabilities, Timeouts, name_of, open_wire
from service.delivery.relay import Relay, Tls
from service.delivery.replies import Reply
from service.delivery.results import Accepted, RelayDown
from tests.delivery.certificates import server_certificate
from tests.delivery.servers import Act, Message, aiosmtpd, sink
from tests.delivery.test_smtp import kinds, messages, send

LOGIN = ("digests", "p@ss:wörd/%")


def open_and_close(relay: Relay) -> Capabilities:
    async def run() -> Capabilities:
        wire, capabilities = await open_wire(relay, "papers.example", Timeouts(2.0, 1.0, 1.0, 0.2))
        wire.drop()
        return capabilities

    return asyncio.run(run())


def test_a_real_server_takes_pipelined_mail() -> None:
    with aiosmtpd() as server:
        results, down = send(Relay("127.0.0.1", server.port, Tls.OFF), messages(100), connections=4)
    assert down is None
    assert kinds(results) == {Accepted: 100}
    assert sorted(recipient for _, recipient, _, _ in server.mails) == sorted(m.recipient for m in messages(100))


@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.REQUIRED, Tls.OFFERED])
def test_encrypted_and_verified(tls: Tls, tmp_path: Path) -> None:
    context, ca_file = server_certificate(tmp_path)
    with aiosmtpd(tls=context, implicit=tls is Tls.IMPLICIT) as server:
        relay = Relay("127.0.0.1", server.port, tls, ca_file=ca_file)
        # More than a socket holds, and less: the latter is out of the door before anybody waits for it.
        sizes = (10_000, 2_500, 2)
        sent = [Message(number, b"0123456789abcd\r\n" * sizes[number % 3]) for number in range(1, 31)]
        results, down = send(relay, sent, connections=2)
    assert down is None
    assert kinds(results) == {Accepted: 30}
    assert sorted((r, content) for _, r, content, _ in server.mails) == sorted((m.recipient, m.content) for m in sent)


@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.REQUIRED, Tls.OFFERED])
@pytest.mark.parametrize("names", [("127.0.0.1",), ("other.example",)], ids=["unknown authority", "another name"])
def test_certificate_that_does_not_hold_stops_the_queue(tls: Tls, names: tuple[str, ...], tmp_path: Path) -> None:
    context, ca_file = server_certificate(tmp_path, names=names)
    with aiosmtpd(tls=context, implicit=tls is Tls.IMPLICIT) as server:
        relay = Relay("127.0.0.1", server.port, tls, ca_file=ca_file if names == ("other.example",) else None)
        with pytest.raises(RelayDown, match=r"certificate of the relay .* does not hold.*ca=FILE"):
            open_and_close(relay)
    assert server.mails == []


def test_speaking_tls_to_a_clear_port_says_so() -> None:
    with sink() as server, pytest.raises(RelayDown, match=r"encryption with the relay .* failed"):
        open_and_close(replace(server.relay, tls=Tls.IMPLICIT))


def test_encryption_required_but_not_offered() -> None:
    with sink() as server, pytest.raises(RelayDown, match="offers no encryption"):
        open_and_close(replace(server.relay, tls=Tls.REQUIRED))


def test_words_slipped_in_behind_starttls_are_not_believed() -> None:
    with (
        sink(EHLO="250-sink.example\n250 STARTTLS", STARTTLS="220 go\n250 AUTH PLAIN") as server,
        pytest.raises(RelayDown, match="clear text after STARTTLS"),
    ):
        open_and_close(replace(server.relay, tls=Tls.REQUIRED))


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", Act.DROP, "220 but no TLS follows"])
def test_starttls_that_fails(answer: Act | str) -> None:
    with (
        sink(EHLO="250-sink.example\n250 STARTTLS", STARTTLS=answer) as server,
        pytest.raises(RelayDown) as caught,
    ):
        open_and_close(replace(server.relay, tls=Tls.REQUIRED))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("exclude", [(), ("PLAIN",)], ids=["PLAIN", "LOGIN"])
def test_login(exclude: Sequence[str], tmp_path: Path) -> None:
    context, ca_file = server_certificate(tmp_path)
    with aiosmtpd(tls=context, login=LOGIN, exclude=tuple(exclude)) as server:
        relay = Relay("127.0.0.1", server.port, Tls.REQUIRED, *LOGIN, ca_file=ca_file)
        results, _ = send(relay, messages(3))
        assert kinds(results) == {Accepted: 3}
        with pytest.raises(RelayDown, match=r"refuses the login \(535 5\.7\.8\): check user and password") as caught:
            open_and_close(replace(relay, password="wrong"))
        assert "wrong" not in str(caught.value)
        with pytest.raises(RelayDown, match=r"530 5\.7\.0"):
            raise send(replace(relay, username=None, password=None), messages(1))[1] or AssertionError


def test_a_password_never_meets_a_wire_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "loopback", property(lambda _: False))
    with sink(EHLO="250-sink.example\n250 AUTH PLAIN LOGIN") as server:
        for tls in (Tls.OFF, Tls.OFFERED):
            relay = replace(server.relay, tls=tls, username="digests", password="secret")
            with pytest.raises(RelayDown, match="never sent in clear text"):
                open_and_close(relay)
    assert not [line for line in server.commands if line.startswith("AUTH")]


def test_login_we_do_not_know() -> None:
    with sink(EHLO="250-sink.example\n250 AUTH GSSAPI") as server, pytest.raises(RelayDown, match="no login we know"):
        open_and_close(replace(server.relay, username="digests", password="secret"))


def test_addresses_beyond_ascii_need_smtputf8() -> None:
    odd = Message(1, recipient="lesende@example.org", content="Subject: Grüße\r\n\r\nä\r\n".encode())
    wide = Message(2, recipient="jürgen@example.org")
    plain = Message(3, content="Subject: x\r\n\r\nä\r\n".encode())
    with aiosmtpd() as server:
        results, _ = send(Relay("127.0.0.1", server.port, Tls.OFF), [odd, wide, plain])
    assert kinds(results) == {Accepted: 3}
    options = {recipient: [o for o in given if not o.startswith("SIZE")] for _, recipient, _, given in server.mails}
    assert options == {
        "lesende@example.org": ["BODY=8BITMIME", "SMTPUTF8"],
        "jürgen@example.org": ["SMTPUTF8"],
        "reader3@example.org": ["BODY=8BITMIME"],
    }


def test_capabilities_are_read_whatever_their_case() -> None:
    reply = Reply(250, ("sink.example hello", "pipelining", "size 1000", "Auth plain LOGIN", "", "SMTPUTF8"))
    assert Capabilities.parse(reply) == Capabilities(
        pipelining=True, utf8=True, size=True, largest=1000, auth=frozenset({"PLAIN", "LOGIN"})
    )
    assert Capabilities.parse(Reply(250, ("x", "SIZE 0"))).largest is None
    assert Capabilities.parse(Reply(250, ("x", "SIZE"))).largest is None
    assert Capabilities.parse(Reply(250, ("x", "SIZE ²"))).largest is None


@pytest.mark.parametrize(
    ("domain", "name"),
    [("papers.example", "papers.example"), ("localhost", "[127.0.0.1]"), ("bücher.example", "[127.0.0.1]")],
)
def test_our_name_is_a_domain_or_an_address_literal(domain: str, name: str) -> None:
    assert name_of(domain) == name
