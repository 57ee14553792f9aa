"""Quoted-printable (RFC 2045, 6.7) in fragments that can be joined. Pure.

Each fragment ends at the beginning of a line: after a hard line break of the text, or after a soft one. So encoded
fragments may be joined in any order, no line is longer than 76 characters, and the whole decodes to the joined texts.
No line begins with a dot, so that SMTP has nothing to stuff (RFC 5321, 4.5.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_UNSAFE = re.compile(rb"[^\x20-\x3c\x3e-\x7e]")
_LONGEST: Final = 75
"""Characters before the "=" of a soft break."""
_TABLE: Final = [b"=%02X" % byte for byte in range(256)]


def encoded(text: str) -> bytes:
    """A fragment of a body. Line ends of ``text`` may be of any kind; they become hard line breaks."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.encode("utf-8").split(b"\n")
    last = lines.pop()
    whole = [_line(line) for line in lines]
    if last:
        # Not ended by the text: its last piece ends with a soft break, whatever follows.
        return b"\r\n".join([*whole, _line(last, goes_on=True)])
    return b"".join(line + b"\r\n" for line in whole)


def _line(line: bytes, *, goes_on: bool = False) -> bytes:
    safe = _UNSAFE.sub(lambda found: _TABLE[found[0][0]], line)
    if safe.endswith(b" ") and not goes_on:
        safe = safe[:-1] + b"=20"
    if safe.startswith(b"."):
        safe = b"=2E" + safe[1:]
    if len(safe) > _LONGEST:
        safe = b"=\r\n".join(_pieces(safe))
    return safe + b"=\r\n" if goes_on else safe


def _pieces(safe: bytes) -> Iterator[bytes]:
    """Cut so that every piece fits a line: never between the three characters of an escape."""
    while len(safe) > _LONGEST:
        escape = safe.rfind(b"=", _LONGEST - 2, _LONGEST)
        end = _LONGEST if escape < 0 else escape
        yield safe[:end]
        safe = safe[end:]
        if safe.startswith(b"."):
            safe = b"=2E" + safe[1:]
    yield safe
