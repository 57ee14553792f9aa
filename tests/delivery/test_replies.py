"""Replies: reading them in any pieces, and what their codes mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.replies import ProtocolError, Reply, ReplyReader, Stage, Verdict, judge

CODES = st.integers(200, 599)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=80)


def wire(reply: Reply) -> bytes:
    *firsts, last = reply.lines
    return "".join([*(f"{reply.code}-{line}\r\n" for line in firsts), f"{reply.code} {last}\r\n"]).encode()


@given(
    st.lists(st.builds(Reply, CODES, st.lists(TEXTS, min_size=1, max_size=5).map(tuple)), max_size=5),
    st.lists(st.integers(1, 40)),
)
def test_replies_are_read_whatever_pieces_they_come_in(replies: list[Reply], pieces: list[int]) -> None:
    data, reader, read = b"".join(map(wire, replies)), ReplyReader(), list[Reply]()
    for length in pieces:
        read += reader.feed(data[:length])
        data = data[length:]
    read += reader.feed(data)
    assert read == replies
    assert reader.empty


@given(st.binary(max_size=300))
def test_any_bytes_are_replies_or_a_protocol_error(data: bytes) -> None:
    try:
        for reply in ReplyReader().feed(data):
            assert 200 <= reply.code < 600
            assert not re.search(r"[\x00-\x1f\x7f]", reply.summary)
            assert judge(Stage.RCPT, reply) in Verdict
    except ProtocolError:
        pass


def test_bare_line_feeds_and_bare_codes_are_read() -> None:
    assert list(ReplyReader().feed(b"250-a\n250\n354\r\n")) == [Reply(250, ("a", "")), Reply(354, ("",))]


def test_what_came_before_the_nonsense_counts() -> None:
    read: list[Reply] = []
    with pytest.raises(ProtocolError):
        read.extend(ReplyReader().feed(b"250 ok\r\nnonsense\r\n250 ok\r\n"))
    assert read == [Reply(250, ("ok",))]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"25 x\r\n",
        b"650 x\r\n",
        b"250x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-x\r\n" * 200,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"250 " + b"x" * 5000,
    ],
    ids=["words", "short", "class 6", "no space", "two codes", "many lines", "long line", "endless line"],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(ReplyReader().feed(data))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.1.1 nobody", "5.1.1"),
        ("5.1.10", "5.1.10"),
        ("5.7.515 no", "5.7.515"),
        ("4.1.1 of another class", None),
        ("5.1 short", None),
        ("5.1.1.1 long", None),
        ("nobody 5.1.1", None),
        ("", None),
    ],
)
def test_enhanced_codes_stand_first_and_agree_with_the_code(text: str, expected: str | None) -> None:
    enhanced = Reply(550, (text,)).enhanced
    assert (str(enhanced) if enhanced else None) == expected


@pytest.mark.parametrize(
    ("stage", "reply", "verdict"),
    [
        (Stage.MAIL, "250 ok", Verdict.GO_ON),
        (Stage.RCPT, "251 will forward", Verdict.GO_ON),
        (Stage.DATA, "354 go on", Verdict.GO_ON),
        (Stage.DATA, "250 ok", Verdict.BUSY),
        (Stage.RCPT, "354 go on", Verdict.BUSY),
        (Stage.BODY, "250 ok", Verdict.GO_ON),
        (Stage.RCPT, "421 4.3.2 later", Verdict.BUSY),
        (Stage.RCPT, "450 4.2.0 greylisted", Verdict.DEFER),
        (Stage.RCPT, "451 5.1.1 class differs", Verdict.DEFER),
        (Stage.MAIL, "452 4.3.1 disk full", Verdict.DEFER),
        (Stage.MAIL, "530 5.7.0 authenticate", Verdict.REFUSED),
        (Stage.RCPT, "530 authenticate", Verdict.REFUSED),
        (Stage.MAIL, "550 5.7.1 sender", Verdict.REFUSED),
        (Stage.MAIL, "552 too large", Verdict.REJECT),
        (Stage.MAIL, "554 5.3.4 too large", Verdict.REJECT),
        (Stage.MAIL, "550 5.6.7 no UTF-8 here", Verdict.REJECT),
        (Stage.RCPT, "550 5.1.1 nobody", Verdict.BOUNCE),
        (Stage.RCPT, "550 5.1.0 address", Verdict.BOUNCE),
        (Stage.RCPT, "556 5.1.10 null MX", Verdict.BOUNCE),
        (Stage.RCPT, "550 5.1.8 sender's domain", Verdict.REFUSED),
        (Stage.RCPT, "550 nobody, or policy", Verdict.REJECT),
        (Stage.RCPT, "550 5.2.1 mailbox disabled", Verdict.BOUNCE),
        (Stage.RCPT, "552 5.2.2 mailbox full", Verdict.BOUNCE),
        (Stage.RCPT, "552 5.2.3 too large for it", Verdict.REJECT),
        (Stage.BODY, "552 5.2.2 too late to be sure", Verdict.REJECT),
        (Stage.RCPT, "554 5.7.1 relay access denied", Verdict.REJECT),
        (Stage.BODY, "550 5.1.1 too late to be sure", Verdict.REJECT),
        (Stage.BODY, "554 5.7.1 spam", Verdict.REJECT),
    ],
)
def test_what_codes_mean(stage: Stage, reply: str, verdict: Verdict) -> None:
    assert judge(stage, Reply(int(reply[:3]), (reply[4:],))) is verdict
