"""No input raises anything but MailError, and none takes for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.returns import mail, reports
from service.returns.mail import MailError, parsed
from service.returns.understand import Readers, understood
from service.settings import Settings
from tests.returns.conftest import MAILS

LARGEST = 4 * 1024 * 1024
READERS = Readers.of(
    Settings(home=Path("/nowhere"), secret=SecretStr("x" * 40), return_domain="returns.papers.example")
)
RECIPIENTS = ["subscribe@returns.papers.example", READERS.addresses.bounce(7), str(READERS.addresses.unsubscribe(7))]
FIXTURES = [path.read_bytes() for path in sorted(MAILS.glob("*.eml"))]


def survives(content: bytes) -> None:
    try:
        found = parsed(content, largest=LARGEST)
    except MailError:
        return
    for recipient in RECIPIENTS:
        understood(found, "test", READERS, recipients=[recipient], sender="a@example.org")
    understood(found, "test", READERS)
    reports.odd_failures(found)


@given(st.binary(max_size=2_000))
def test_any_bytes_are_survived(content: bytes) -> None:
    survives(content)


PIECES = [
    b"\x00", b"\r", b"\n", b"\xff", b"=?", b"?=", b"=?utf-8?b?%%%?=", b"<>", b"@", b";", b'"', b"(" * 3_000, b"\n\n",
    b"--", b":;,<@>", b"charset*0*=x''y", b"5.1.1.1.1",
    b"\nContent-Type: multipart/mixed; boundary=\n",
    b"\nContent-Transfer-Encoding: base64\n\n!!!",
    b"\nContent-Type: message/rfc822\n\n",
    b"\nContent-Type: text/plain; charset=nonsense\n",
    b"\nFrom: =?x?y?z?=\n",
    b"\nSubject: =?utf-7?q?+?=\n",
    b"\nStatus: 5." + b"9" * 400 + b"\n",
]  # fmt: skip
NASTY = st.sampled_from(PIECES)


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(FIXTURES), st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 60), NASTY), max_size=6))
def test_real_shapes_with_pieces_broken_are_survived(content: bytes, breaks: list[tuple[int, int, bytes]]) -> None:
    for at, length, piece in breaks:
        content = content[:at] + piece + content[at + length :]
    survives(content)


def _nested(depth: int) -> bytes:
    parts = [b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(depth)]
    return b"".join(parts) + b"\n\ntext\n" * 10


def _enclosed(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\n\n" * depth + b"Subject: x\n\ntext"


BOMBS = {
    "deep": _nested(5_000),
    "wide": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 200_000,
    "wide with types": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: a/b\n\nx\n" * 50_000,
    "deep and long": _nested(39) + b"\n" * 3_000_000,
    "enclosed": _enclosed(3_000),
    "headers": b"X: y\n" * 500_000,
    "one header": b"Subject: " + b"=?utf-8?q?x?= " * 200_000 + b"\n\n",
    "folded": b"From: " + b"a\n " * 300_000 + b"\n\n",
    "comments": b"From: " + b"(" * 1_000_000 + b"\n\n",
    "returns": b"Content-Type: text/plain\r\r" + b"\r" * 3_000_000,
    "large": b"x" * (LARGEST + 1),
    "base64": b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + b"QUFB" * 900_000,
    "status blocks": b"Content-Type: message/delivery-status\n\n" + b"Action: failed\n\n" * 45_000,
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name: str) -> None:
    survives(BOMBS[name])


def test_the_bounds_leave_room_for_real_mail() -> None:
    for content in FIXTURES:
        assert parsed(content, largest=LARGEST).digest.endswith("example")


def test_a_mail_without_a_message_id_is_known_by_its_body() -> None:
    first = parsed(b"Received: by a\r\nSubject: x\r\n\r\nbody", largest=LARGEST)
    again = parsed(b"Received: by b\r\nReceived: by a\r\nSubject: x\r\n\r\nbody", largest=LARGEST)
    other = parsed(b"Subject: x\r\n\r\nother body", largest=LARGEST)
    assert first.digest == again.digest != other.digest


def test_an_encoded_report_is_read_all_the_same() -> None:
    """Some gateways encode message/delivery-status, which RFC 6522 does not allow."""
    content = (
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n"
        b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
        b"UmVwb3J0aW5nLU1UQTogZG5zOyBteAoKRmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGFAZXhhbXBs\n"
        b"ZS5vcmcKQWN0aW9uOiBmYWlsZWQKU3RhdHVzOiA1LjEuMQo=\n--b--\n"
    )
    (failure,) = reports.failures(parsed(content, largest=LARGEST)) or []
    assert (failure.recipients, failure.code) == (("a@example.org",), "5.1.1")


def test_headers_are_one_line_however_they_come() -> None:
    found = parsed(b"Subject: =?utf-8?q?a=0D=0Ab?=\r\n c\r\nFrom: \xff <a@example.org>\r\n\r\n", largest=LARGEST)
    assert found.subject == "a b c"
    assert found.author == "a@example.org"
    assert mail.header(found.message, "nothing") == ""
