"""The editor's note as words: what it may hold, and how it looks in both parts of a mail and on a page. Pure."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from service.mails import quoted
from service.mails.lines import wrapped
from service.mails.parts import NOTHING, Words
from service.translation import Language, gettext

LONGEST: Final = 1_000
"""Characters."""
_SCHEME: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_URL: Final = re.compile(r"https://[^\s<>\"“”]+")
_AFTER_A_URL: Final = ".,;:!?)]}’'"
"""Ends a sentence rather than an address."""
_BLANK: Final = re.compile(r"\n{2,}")


class NoteError(Exception):
    """A note that cannot be. One line: what is wrong and the remedy."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some words, or an address that is a link."""

    text: str
    is_link: bool = False


Paragraph = tuple[tuple[Span, ...], ...]
"""Lines of spans."""


def check(text: str) -> str:
    """The note with its ends and empty lines tidied. Raises :class:`NoteError`."""
    typed = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    lines = [" ".join(line.split(" ")).rstrip() for line in typed.split("\n")]
    tidy = _BLANK.sub("\n\n", "\n".join(lines)).strip()
    if not tidy:
        raise NoteError("the note is empty: write what is to stand on top of the digests")
    if len(tidy) > LONGEST:
        raise NoteError(f"the note has {len(tidy)} characters: shorten it to {LONGEST}, and link to the rest")
    odd = next((each for each in tidy if each != "\n" and not each.isprintable()), None)
    if odd is not None:
        raise NoteError(f"the note holds the character U+{ord(odd):04X}, which does not print: type it anew")
    other = next((found[0] for found in _SCHEME.finditer(tidy) if found[0] != "https://"), None)
    if other is not None:
        raise NoteError(f"the note holds {other}: links are bare addresses that begin with https://")
    return tidy


def paragraphs(text: str) -> tuple[Paragraph, ...]:
    """A note cut up for a page."""
    return tuple(tuple(_spans(line) for line in part.split("\n")) for part in text.split("\n\n"))


@lru_cache(maxsize=200)
def encoded(text: str, _language: Language) -> Words:
    """A note as it stands on top of a mail: made once for each note and language; nothing where there is none.

    ``_language`` is the one of the moment: it belongs to what is remembered.
    """
    if not text:
        return NOTHING
    heading = gettext("A note from the editor")
    lines = [[_as_html(line) for line in paragraph] for paragraph in paragraphs(text)]
    body = "".join(f'<p dir="auto" style="margin-top:6px;">{"<br>".join(paragraph)}</p>' for paragraph in lines)
    page = (
        '<div class="rule" style="border-top:1px solid #dde1e7;margin-top:16px;padding-top:12px;">'
        f'<p class="by" style="color:#56606f;font-size:13px;">{html.escape(heading)}</p>{body}</div>'
    )
    return Words(quoted.encoded(page), quoted.encoded(f"\n\n{plain(text)}"))


def plain(text: str) -> str:
    """A note as the text part shows it, in the language of the moment."""
    return "\n".join([gettext("A note from the editor"), "", *map(wrapped, text.split("\n"))])


def _spans(line: str) -> tuple[Span, ...]:
    spans: list[Span] = []
    end = 0
    for found in _URL.finditer(line):
        url = found[0].rstrip(_AFTER_A_URL)
        if len(url) > len("https://"):
            spans += [Span(line[end : found.start()]), Span(url, is_link=True)]
            end = found.start() + len(url)
    return tuple(span for span in (*spans, Span(line[end:])) if span.text)


def _as_html(line: tuple[Span, ...]) -> str:
    escaped = [(html.escape(span.text), span.is_link) for span in line]
    return "".join(f'<a href="{text}">{text}</a>' if is_link else text for text, is_link in escaped)
