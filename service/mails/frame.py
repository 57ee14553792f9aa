"""What stands around the cards of a digest: headline, day, the editor's note, what more there is, the ways out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from service import translation
from service.database.tables import Cadence
from service.mails import message, note, parts, quoted
from service.mails.addressee import Addressee
from service.mails.letterhead import Letterhead
from service.mails.material import Draft
from service.mails.parts import NOTHING, Words
from service.mails.templates import Fragments, holes
from service.subscribers import schedule
from service.translation import Language, gettext, ngettext

_HOLES: Final = (
    "title", "headline", "summary", "note", "preheader", "more", "preferences_url", "unsubscribe_url",
)  # fmt: skip
_LINK_OPENS: Final = quoted.encoded('<p><a href="')
_LINK_HOLDS: Final = quoted.encoded('">')
_LINK_ENDS: Final = quoted.encoded("</a></p>")
_LINE_ENDS: Final = quoted.encoded("\n")


@dataclass(frozen=True, slots=True)
class Around:
    """A reader's frame: what comes before the cards and after them, in each part."""

    html_before: list[bytes]
    html_after: list[bytes]
    text_before: list[bytes]
    text_after: list[bytes]


class Frames:
    """Renders the frame once a language, and fills it for each reader."""

    def __init__(self, letterhead: Letterhead) -> None:
        self._letterhead = letterhead
        self._rendered: dict[str, tuple[Fragments, Fragments, Fragments, Fragments]] = {}
        """By language, in the order of :class:`Around`."""

    def around(self, reader: Addressee, draft: Draft, titles: Sequence[str], unsubscribe_url: str) -> Around:
        """In the language of the moment; ``titles`` are those of the papers that are shown."""
        words = self._words(reader, draft, titles, unsubscribe_url)
        html = {name: word.html for name, word in words.items()}
        text = {name: word.text for name, word in words.items()}
        html_before, html_after, text_before, text_after = self._frame()
        return Around(
            html_before.filled(html), html_after.filled(html), text_before.filled(text), text_after.filled(text)
        )

    def _frame(self) -> tuple[Fragments, Fragments, Fragments, Fragments]:
        tag = translation.current().tag
        if (held := self._rendered.get(tag)) is not None:
            return held
        templates = self._letterhead.templates
        values = {**self._letterhead.site, **holes(_HOLES)}
        page, plain = templates.html_parts("digest"), templates.text_parts("digest")
        made = self._rendered[tag] = (
            Fragments(templates.html_from(page.before, values)),
            Fragments(templates.html_from(page.after, values)),
            Fragments(templates.text_from(plain.before, values)),
            Fragments(templates.text_from(plain.after, values)),
        )
        return made

    def _words(self, reader: Addressee, draft: Draft, titles: Sequence[str], unsubscribe_url: str) -> dict[str, Words]:
        language, links = translation.current(), self._letterhead.links
        weekly = reader.cadence == Cadence.WEEKLY
        headline, day = _occasion(language, len(titles), draft.slot, reader.timezone, weekly=weekly)
        return {
            "title": headline,
            "headline": headline,
            "summary": day,
            "note": note.encoded(draft.note, language),
            "preheader": _remembered(_preheader(titles)),
            "preferences_url": parts.url(links.preferences(reader.id)),
            "unsubscribe_url": parts.url(unsubscribe_url),
            "more": self._more(language, draft, draft.matched - len(titles)),
        }

    def _more(self, language: Language, draft: Draft, more: int) -> Words:
        if more <= 0:
            return NOTHING
        letterhead = self._letterhead
        url = f"{letterhead.origin}/search" if draft.digest_id is None else letterhead.links.digest(draft.digest_id)
        said, link = _and_more(language, more), parts.url(url)
        return Words(
            b"".join((_LINK_OPENS, link.html, _LINK_HOLDS, said.html, _LINK_ENDS)),
            b"".join((said.text, link.text, _LINE_ENDS)),
        )


_remembered = lru_cache(maxsize=10_000)(parts.words)
"""Those of many readers are the same."""


@lru_cache(maxsize=1_000)
def _occasion(_language: Language, count: int, slot: datetime, timezone: str, *, weekly: bool) -> tuple[Words, Words]:
    """The headline and the day below it. ``_language`` is the one of the moment: it belongs to what is remembered."""
    day = translation.day(slot.astimezone(schedule.zone(timezone)))
    if weekly:
        headline = ngettext("%(num)s new paper of your week", "%(num)s new papers of your week", count)
        day = gettext("The week to %(day)s", day=day)
    else:
        headline = ngettext("%(num)s new paper for you", "%(num)s new papers for you", count)
    return parts.words(headline), parts.words(day)


@lru_cache(maxsize=10_000)
def _and_more(_language: Language, more: int) -> Words:
    said = ngettext("… and %(num)s more that matched your topics", "… and %(num)s more that matched your topics", more)
    return parts.words(said, f"{said}:\n")


def _preheader(titles: Sequence[str]) -> str:
    """What inboxes show behind the subject: titles, 40 to 130 characters."""
    text = message.shortened(" · ".join(titles[:3]), 130)
    if len(text) >= 40:
        return text
    return gettext("%(titles)s · new papers on the topics that you follow, each with its reason", titles=text)
