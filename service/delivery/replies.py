"""SMTP replies: reading them off the wire and saying what they mean. Pure; no I/O.

Meaning comes from the reply code (RFC 5321 §4.2) and the enhanced status code (RFC 3463, carried as RFC 2034 says),
never from the words behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache

LONGEST_LINE = 2048
"""Octets of one reply line. RFC 5321 allows 512; real relays write longer ones, but not without end."""
MOST_LINES = 128
"""Lines of one reply."""
TEXT_KEPT = 500
"""Characters of a reply's text that are kept for the record."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?=\s|$)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

ADDRESS_DETAILS = frozenset({0, 1, 2, 3, 6, 10})
"""Details of X.1.x that say the destination address itself is bad (RFC 3463 §3.2, RFC 7505 for 10)."""
SENDER_DETAILS = frozenset({7, 8, 9})
"""Details of X.1.x that speak of the sender's address: our configuration, nobody's mailbox."""


class ProtocolError(Exception):
    """The far end does not speak SMTP. One line."""


@dataclass(frozen=True, slots=True)
class Enhanced:
    """An enhanced status code: class, subject, detail."""

    status: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.status}.{self.subject}.{self.detail}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply."""

    code: int
    lines: tuple[str, ...]
    """Text of each line, without the code."""

    @property
    def positive(self) -> bool:
        return self.code < 400

    @property
    def enhanced(self) -> Enhanced | None:
        """The enhanced code at the head of the text, if there is one and its class agrees with the reply code."""
        match = _ENHANCED.match(self.lines[0])
        if match is None or int(match[1]) != self.code // 100:
            return None
        return Enhanced(int(match[1]), int(match[2]), int(match[3]))

    @property
    def summary(self) -> str:
        """Code and text on one line without control characters, cut to a length fit for a table."""
        text = f"{self.code} {' '.join(self.lines)}"
        return (text if text.isprintable() else _UNPRINTABLE.sub(" ", text))[:TEXT_KEPT].strip()

    @property
    def codes(self) -> str:
        """The codes alone: what may be logged, since a reply's words often repeat the address."""
        enhanced = self.enhanced
        return f"{self.code} {enhanced}" if enhanced else str(self.code)


class ReplyReader:
    """Turns received bytes into replies. Feed it as they come; a reply may arrive in any number of pieces."""

    __slots__ = ("_buffer", "_code", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[str] = []

    @property
    def empty(self) -> bool:
        """Whether nothing lies half-read here."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies completed by ``data``, to be taken to the end. Raises :class:`ProtocolError`."""
        if self._buffer:
            data = self._buffer + data
        *complete, self._buffer = data.split(b"\n")
        for line in complete:
            reply = self._line(line.removesuffix(b"\r"))
            if reply is not None:
                yield reply
        if len(self._buffer) > LONGEST_LINE:
            raise ProtocolError("a reply line without end")

    def _line(self, line: bytes) -> Reply | None:
        code, goes_on, text = _read_line(line)
        if self._lines and code != self._code:
            raise ProtocolError("a reply whose lines carry different codes")
        if goes_on:
            self._code = code
            self._lines.append(text)
            if len(self._lines) >= MOST_LINES:
                raise ProtocolError("a reply of too many lines")
            return None
        lines = (*self._lines, text)
        self._lines = []
        return Reply(code, lines)


@lru_cache(maxsize=256)
def _read_line(line: bytes) -> tuple[int, bool, str]:
    """Code, whether more lines follow, text. Three of a message's four replies are the same each time."""
    match = _LINE.fullmatch(line)
    if match is None or len(line) > LONGEST_LINE:
        raise ProtocolError("a line that is not an SMTP reply")
    return int(match[1]), match[2] == b"-", (match[3] or b"").decode("utf-8", "replace")


class Stage(StrEnum):
    """Where in a transaction a reply was given."""

    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "the message"


class Verdict(Enum):
    """What a reply means for the message, its address and the relay."""

    GO_ON = "go on"
    DEFER = "this message later"
    REJECT = "this message never"
    BOUNCE = "this message never, and its address has to answer for it"
    BUSY = "nothing more on this connection"
    REFUSED = "the relay does not work for us"


def judge(stage: Stage, reply: Reply) -> Verdict:
    """What ``reply`` at ``stage`` means.

    ========================================  =======
    2xx, 3xx where expected                   GO_ON
    421                                       BUSY: the connection is closing (RFC 5321 §3.8)
    other 4xx                                 DEFER
    530, 535, 538                             REFUSED: we must authenticate (RFC 4954 §6)
    5xx of size (552 at MAIL, X.3.4, X.2.3)   REJECT
    5xx of form (X.6.x)                       REJECT: this content or this address needs what the relay lacks
    other 5xx at MAIL; X.1.7, X.1.8, X.1.9    REFUSED: it is our sender that is not wanted
    5xx at RCPT with X.1.{0,1,2,3,6,10}       BOUNCE: there is no such address
    other 5xx at RCPT with X.2.x              BOUNCE: the mailbox is disabled, full, or the like
    other 5xx                                 REJECT
    ========================================  =======
    """
    code = reply.code
    if code < 400:
        # 354 belongs to DATA alone; anything else positive there leaves no way to send the message.
        return Verdict.GO_ON if (stage is Stage.DATA) == (code == 354) else Verdict.BUSY
    if code < 500:
        return Verdict.BUSY if code == 421 else Verdict.DEFER
    if code in (530, 535, 538):
        return Verdict.REFUSED
    return _permanent(stage, code, reply.enhanced)


def _permanent(stage: Stage, code: int, enhanced: Enhanced | None) -> Verdict:
    subject, detail = (enhanced.subject, enhanced.detail) if enhanced else (None, None)
    if (subject, detail) in ((3, 4), (2, 3)) or subject == 6 or (stage is Stage.MAIL and code == 552):
        return Verdict.REJECT
    if stage is Stage.MAIL or (subject == 1 and detail in SENDER_DETAILS):
        return Verdict.REFUSED
    if stage is Stage.RCPT and (subject == 2 or (subject == 1 and detail in ADDRESS_DETAILS)):
        return Verdict.BOUNCE
    return Verdict.REJECT
