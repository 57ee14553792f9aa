"""A mail from outside, taken apart within bounds. Pure.

Everybody may write to us, so nothing here trusts its input: size, number of parts and length of values are limited, the
headers are read as bytes of any kind, and no input raises anything but :class:`MailError`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses
from typing import Final

MOST_PARTS: Final = 40
"""MIME parts of one mail; a report has three. Also bounds how deep they nest."""
MOST_LINES: Final = 100_000
"""With the depth above, this bounds the parser's work: it holds each line against the boundary of every level."""
MOST_BOUNDARIES: Final = 2_000
"""Lines that begin with two dashes, in a mail that has multipart in it."""
MOST_HEADERS: Final = 1_000
LONGEST_VALUE: Final = 2_000
"""Characters of a header's value that are looked at."""
LONGEST_TEXT: Final = 100_000
"""Characters of text that are looked at."""

_CONTENT_TYPE = re.compile(rb"^content-type[ \t]*:", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb"^--", re.MULTILINE)
_MESSAGE_ID = re.compile(r"<([^<>\s]{3,250})>")
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")


class MailError(Exception):
    """A mail that cannot be taken apart. One line."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail. Values of headers are one line of text, undecoded."""

    message: Message
    digest: str
    """What the mail is known by: its Message-ID, else a hash of its body. A repeat has the same."""
    size: int
    """Bytes."""

    def header(self, name: str) -> str:
        return header(self.message, name)

    @property
    def subject(self) -> str:
        """Decoded (RFC 2047)."""
        raw = self.header("Subject")
        try:
            return " ".join(str(make_header(decode_header(raw))).split())[:LONGEST_VALUE]
        except (ValueError, LookupError):
            return raw

    @property
    def author(self) -> str | None:
        """The address of From, where there is exactly one."""
        found = [address for _, address in addresses_in(self.header("From")) if "@" in address]
        return found[0] if len(found) == 1 else None

    def parts(self) -> Iterator[Message]:
        """Every part, the whole first, but nothing inside an enclosed message."""
        waiting = [self.message]
        while waiting:
            part = waiting.pop(0)
            yield part
            if part.get_content_maintype() == "multipart":
                waiting += _children(part)

    def first(self, *content_types: str) -> Message | None:
        return next((part for part in self.parts() if part.get_content_type() in content_types), None)

    @property
    def report_type(self) -> str | None:
        """Of a multipart/report (RFC 6522): ``delivery-status``, ``feedback-report``; else None."""
        if self.message.get_content_type() != "multipart/report":
            return None
        return str(_parameter(self.message, "report-type")).lower()

    @property
    def text(self) -> str:
        """The plain text, every such part one after the other."""
        texts = [text_of(part) for part in self.parts() if part.get_content_type() == "text/plain"]
        return "\n".join(texts)[:LONGEST_TEXT]

    def enclosed(self) -> Message | None:
        """The headers of the mail that came back, as far as they were sent along."""
        part = self.first("message/rfc822", "message/global")
        if part is not None:
            return next(iter(_children(part)), None)
        part = self.first("text/rfc822-headers", "message/rfc822-headers", "message/global-headers")
        return headers_in(text_of(part)) if part is not None else None


def parsed(content: bytes, *, largest: int) -> Mail:
    """Take a mail apart. Raises :class:`MailError`."""
    if len(content) > largest:
        raise MailError(f"a mail of {len(content)} bytes is larger than what is read ({largest})")
    head, _, body = _halves(content)
    if head.count(b"\n") > MOST_HEADERS:
        raise MailError("a mail of too many headers")
    if content.count(b"\n") > MOST_LINES or content.count(b"\r") > MOST_LINES:
        raise MailError("a mail of too many lines")
    if b"multipart/" in content.lower() and (
        len(_CONTENT_TYPE.findall(content)) > MOST_PARTS or len(_BOUNDARY.findall(content)) > MOST_BOUNDARIES
    ):
        raise MailError("a mail of too many parts")
    try:
        message = message_from_bytes(content, policy=policy.compat32)
        if sum(1 for _ in message.walk()) > MOST_PARTS:
            raise MailError("a mail of too many parts")
        own = message_ids(header(message, "Message-ID"))
        digest = own[0] if own else hashlib.sha256(body).hexdigest()
        return Mail(message, digest, len(content))
    except MailError:
        raise
    except Exception as error:
        # The parser has a long history of new exceptions for new nonsense; one mail must never stop the reader.
        raise MailError(f"a mail that cannot be taken apart ({type(error).__name__})") from error


def header(message: Message, name: str) -> str:
    """The first header of this name, unfolded; empty where there is none."""
    value = message.get(name)
    if value is None:
        return ""
    line = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(line[: 4 * LONGEST_VALUE].split())[:LONGEST_VALUE]


def addresses_in(value: str) -> list[tuple[str, str]]:
    """Names and addresses in a header's value."""
    try:
        return getaddresses([value[:LONGEST_VALUE]])
    except (ValueError, IndexError, RecursionError):
        return []


def message_ids(value: str) -> list[str]:
    """Message-IDs without their angle brackets."""
    return [match[1] for match in _MESSAGE_ID.finditer(value[:LONGEST_VALUE])]


def text_of(part: Message) -> str:
    """A part's text, decoded as well as it can be."""
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, LookupError, TypeError, AssertionError):
        return ""
    if not isinstance(payload, bytes):
        return ""
    payload = payload[: 4 * LONGEST_TEXT]
    try:
        return payload.decode(part.get_content_charset() or "utf-8", "replace")[:LONGEST_TEXT]
    except (LookupError, ValueError):
        return payload.decode("utf-8", "replace")[:LONGEST_TEXT]


def headers_in(text: str) -> Message:
    """A block of header fields as a message without a body."""
    block = text.lstrip("\r\n").partition("\n\n")[0] if "\r\n" not in text else text.lstrip().partition("\r\n\r\n")[0]
    return message_from_bytes(block.encode("utf-8", "replace") + b"\n\n", policy=policy.compat32)


def blocks_of(part: Message) -> list[Message]:
    """The header blocks of message/delivery-status or message/feedback-report, however the sender encoded them."""
    children = _children(part)
    if any(child.keys() for child in children):
        return children
    # The parser takes the blocks for messages as they stand; encoded ones are still to be decoded.
    bare = Message(policy.compat32)
    bare["Content-Transfer-Encoding"] = header(part, "Content-Transfer-Encoding")
    bare.set_payload("\n".join(str(child.get_payload()) for child in children[:MOST_PARTS]))
    text = text_of(bare if children else part)
    return [headers_in(block) for block in re.split(r"\r?\n\r?\n", text)[:MOST_PARTS] if block.strip()]


def _children(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [each for each in payload if isinstance(each, Message)] if isinstance(payload, list) else []


def _parameter(message: Message, name: str) -> object:
    try:
        value = message.get_param(name)
    except (ValueError, LookupError, TypeError):
        return ""
    return value[2] if isinstance(value, tuple) else value or ""


def _halves(content: bytes) -> tuple[bytes, bytes, bytes]:
    match = _END_OF_HEADERS.search(content)
    return (content, b"", b"") if match is None else (content[: match.start()], match[0], content[match.end() :])
