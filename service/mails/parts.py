"""The two parts of a mail, and words as they stand in each: escaped in the HTML, plain in the text, encoded. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from service.mails import quoted


class Words(NamedTuple):
    """The same words for both parts, encoded so that they can be joined (``quoted``)."""

    html: bytes
    text: bytes


NOTHING: Final = Words(b"", b"")


@dataclass(frozen=True, slots=True)
class Parts:
    """A mail before its headers, in encoded fragments."""

    subject: str
    text: Sequence[bytes]
    html: Sequence[bytes]
    """Empty for readers who want the text alone."""
    unsubscribe_url: str | None = None
    """The one in the text, where there is one: signed once, it serves the headers too."""


def words(said: str, text: str | None = None) -> Words:
    """``said`` for both parts; where the text part lays it out in another way, that is ``text``."""
    return Words(quoted.encoded(html.escape(said)), quoted.encoded(said if text is None else text))


def url(address: str) -> Words:
    """A link for both parts."""
    plain, escaped = quoted.encoded(address), html.escape(address)
    return Words(plain if escaped == address else quoted.encoded(escaped), plain)
