"""A mail as bytes for the wire: headers, and a body joined from encoded fragments. Pure.

RFC 5322 (format), 2045 to 2047 (MIME), 2369 and 2919 (list headers), 8058 (one-click unsubscribe), 3834
(Auto-Submitted). The standard library's generator builds the same in a thousand times the time; decision 007.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from service.translation import gettext, joined, ngettext

_BREAK = re.compile(r"[\r\n\x00]")
_ATOM = re.compile(r"^[A-Za-z0-9 !#$%&'*+\-/=?^_`{|}~]+$")
_LINE: Final = 76
_WORD_FRAME: Final = len("=?utf-8?q??=")
LONGEST_SUBJECT: Final = 78
"""Characters."""

# In no quoted-printable text does "=" come before "_", so this is no line of any body.
_BOUNDARY: Final = b"=_paperround_part"
_PREAMBLE: Final = (
    b"--"
    + _BOUNDARY
    + b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
)
_BETWEEN: Final = (
    b"\r\n--" + _BOUNDARY + b"\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
)
_END: Final = b"\r\n--" + _BOUNDARY + b"--\r\n"
_ALTERNATIVE: Final = f'Content-Type: multipart/alternative; boundary="{_BOUNDARY.decode("ascii")}"'
_PLAIN: Final = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable"


class HeaderError(ValueError):
    """A value that would break out of its header."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who all mail of an installation is from."""

    name: str
    address: str
    list_id: str
    """RFC 2919, without brackets: a name under a domain of ours."""
    feedback_sender: str
    """The last field of Feedback-ID: 5 to 15 letters or digits, always the same."""


@dataclass(frozen=True, slots=True)
class Headers:
    """What differs from mail to mail."""

    recipient: str
    subject: str
    message_id: str
    """Without angle brackets."""
    date: datetime
    stream: str
    """The kind of mail, for Feedback-ID: counts complaints by kind, tells nothing of the reader."""
    one_click_url: str | None = None
    """Where a POST unsubscribes; None for mails that are not part of the list."""
    unsubscribe_address: str | None = None
    """With ``one_click_url``: where a mail unsubscribes too."""


def assembled(sender: Sender, headers: Headers, text: Iterable[bytes], html: Iterable[bytes]) -> bytes:
    """The whole message. ``text`` and ``html`` are fragments by ``quoted.encoded``; without ``html`` it has one part.

    Raises :class:`HeaderError` for a value with a line break in it.
    """
    pages = list(html)
    if not pages:
        return b"".join([_head(sender, headers, _PLAIN), *text])
    return b"".join([_head(sender, headers, _ALTERNATIVE), _PREAMBLE, *text, _BETWEEN, *pages, _END])


def _head(sender: Sender, headers: Headers, content: str) -> bytes:
    opening, standing = _of_all(sender, headers.stream)
    lines = [
        opening,
        f"To: {_clean(headers.recipient)}",
        f"Subject: {_unstructured('Subject', headers.subject)}",
        f"Date: {_date(headers.date)}",
        f"Message-ID: <{_clean(headers.message_id)}>",
        standing,
    ]
    if headers.one_click_url is not None:
        by_mail = headers.unsubscribe_address
        lines += [
            f"List-Unsubscribe: <{_clean(headers.one_click_url)}>"
            + (f",\r\n <mailto:{_clean(by_mail)}?subject=unsubscribe>" if by_mail is not None else ""),
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ]
    lines += ["MIME-Version: 1.0", content]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"


@lru_cache(maxsize=64)
def _of_all(sender: Sender, stream: str) -> tuple[str, str]:
    """The fields that all mails of a kind have alike: the first, and those in the middle."""
    standing = [
        f"List-Id: <{_clean(sender.list_id)}>",
        f"Feedback-ID: {_clean(stream)}:list:paperround:{_clean(sender.feedback_sender)}",
        "Auto-Submitted: auto-generated",
    ]
    return f"From: {mailbox(sender.name, sender.address)}", "\r\n".join(standing)


@lru_cache(maxsize=8)
def _date(moment: datetime) -> str:
    return format_datetime(moment)


@lru_cache(maxsize=64)
def mailbox(name: str, address: str) -> str:
    """``Name <address>`` with the name quoted or encoded as it needs (RFC 5322, 3.4; RFC 2047)."""
    name, address = _clean(name), _clean(address)
    if not name:
        return address
    if not _plain(name):
        name = _encoded_words(name, first=len("From: "))
    elif not _ATOM.match(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"


@lru_cache(maxsize=4096)
def _unstructured(field: str, value: str) -> str:
    value = _clean(value)
    if not _plain(value):
        return _encoded_words(value, first=len(field) + 2)
    return value if len(field) + 2 + len(value) <= _LINE else _folded(value, len(field) + 2)


def _plain(value: str) -> bool:
    # What looks like an encoded word would be decoded by the reader's program, line breaks in it too.
    return value.isascii() and "=?" not in value


def _encoded_words(value: str, *, first: int) -> str:
    """RFC 2047: in words of at most 75 characters that never divide a character, one a line."""
    words, room = [""], _LINE - first - _WORD_FRAME
    for character in value:
        piece = _quoted_character(character)
        if len(piece) > room:
            words.append("")
            room = _LINE - 1 - _WORD_FRAME
        words[-1] += piece
        room -= len(piece)
    return "\r\n ".join(f"=?utf-8?q?{word}?=" for word in words)


@lru_cache(maxsize=4096)
def _quoted_character(character: str) -> str:
    # RFC 2047, 5 (3): in a phrase only these stand for themselves.
    if character.isascii() and (character.isalnum() or character in "!*+-/"):
        return character
    return "_" if character == " " else "".join(f"={byte:02X}" for byte in character.encode("utf-8"))


def _folded(value: str, first: int) -> str:
    """Folded at spaces (RFC 5322, 2.2.3)."""
    lines, used = [""], first
    for word in value.split(" "):
        if lines[-1] and used + 1 + len(word) > _LINE:
            lines.append(word)
            used = 1 + len(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
            used += 1 + len(word)
    return "\r\n ".join(lines)


def _clean(value: str) -> str:
    if _BREAK.search(value):
        raise HeaderError("a header value holds a line break")
    return value


def subject(labels: Sequence[str], titles: Sequence[str], longest: int = LONGEST_SUBJECT) -> str:
    """A subject from content: what the first papers are about, and how many more there are.

    ``labels`` are the interests of the papers in their order; ``titles`` the papers' titles.
    """
    named = list(dict.fromkeys(label for label in labels if label))[:2]
    if len(titles) == 1 or not named:
        named = [titles[0]]
    rest = len(titles) - len(named)
    around = len(_with_rest([""] * len(named), rest))
    return _with_rest([shortened(each, (longest - around) // len(named)) for each in named], rest)


def _with_rest(named: Sequence[str], rest: int) -> str:
    if rest <= 0:
        return joined(named)
    listed = named[0]
    for each in named[1:]:
        listed = gettext("%(first)s, %(next)s", first=listed, next=each)
    return ngettext("%(named)s and %(num)s more", "%(named)s and %(num)s more", rest, named=listed)


def shortened(text: str, longest: int) -> str:
    """``text`` cut at a word, with an ellipsis, to at most ``longest`` characters."""
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    at = cut.rfind(" ")
    return (cut[:at] if at > longest // 2 else cut).rstrip(" ,;:.–—-") + "…"
