"""A digest's two parts, from what was read for it.

What is the same for all readers is encoded once: the frame, and each paper's card. For a reader there remain a few
lines to fill in, and a join.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from service import translation
from service.database.tables import Abstracts, Cadence
from service.mails import cards, message, quoted, reasons
from service.mails.addressee import Addressee
from service.mails.cards import Card
from service.mails.frame import Frames
from service.mails.kept import Kept
from service.mails.letterhead import Letterhead
from service.mails.material import MOST_PAPERS, PAPER_SECONDS, Draft, Material
from service.mails.parts import Parts, Words
from service.mails.reasons import Reasons
from service.papers.archive import PaperView
from service.translation import gettext

MOST_HTML_BYTES: Final = 95_000
"""Mail programs cut longer HTML off (Gmail at about 102 KB)."""
USUAL_BYTES: Final = 38_000
"""Of both parts of a digest of ten papers or fewer: abstracts are cut shorter where they would make it longer."""
_USUAL_PAPERS: Final = 10

_Entry = tuple[PaperView, Words]
"""A paper and why it is there."""


class DigestMail:
    """Makes the digests of one installation; keeps cards, reasons and the frame. Safe for several threads."""

    def __init__(self, letterhead: Letterhead) -> None:
        self._letterhead = letterhead
        self._frames = Frames(letterhead)
        self._reasons = Reasons()
        self._cards: Kept[tuple[str, int], dict[int, Card]] = Kept(seconds=PAPER_SECONDS, most=MOST_PAPERS)
        """By language and paper; in it by the length of the abstract."""

    def parts(self, reader: Addressee, draft: Draft, material: Material) -> Parts:
        """In the language of the moment. No I/O. At least one paper of the draft must be among the material."""
        now, links = time.monotonic(), self._letterhead.links
        shown = [
            (place, material.papers[paper]) for place, paper in enumerate(draft.paper_ids) if paper in material.papers
        ]
        titles = [paper.title for _, paper in shown]
        entries, leading = self._entries(reader.id, draft, material, shown, now)
        asides = _asides(draft, material)
        unsubscribe_url = links.unsubscribe(reader.id)
        around = self._frames.around(reader, draft, titles, unsubscribe_url)
        html_parts, text_parts = around.html_before, around.text_before
        feedback = quoted.encoded(f"{links.feedback(reader.id)}/")
        full = reader.abstracts == Abstracts.FULL
        chosen = self._fitting(
            entries,
            asides,
            longest=cards.FULL_ABSTRACT if full else cards.LONGEST_ABSTRACT,
            most_bytes=None if full or len(shown) > _USUAL_PAPERS else USUAL_BYTES,
            around=(sum(map(len, html_parts + around.html_after)), sum(map(len, text_parts + around.text_after))),
            feedback=len(feedback),
            now=now,
        )
        for card, (_, reason) in zip(chosen, entries + asides, strict=True):
            html_parts += card.html.filled({"reason": reason.html, "feedback": feedback})
            text_parts += card.text.filled({"reason": reason.text, "feedback": feedback})
        html_parts += around.html_after
        text_parts += around.text_after
        opening = gettext("Your week:") + " " if reader.cadence == Cadence.WEEKLY else ""
        subject = opening + message.subject(leading, titles, message.LONGEST_SUBJECT - len(opening))
        return Parts(subject, text_parts, [] if reader.plain_text else html_parts, unsubscribe_url)

    def _entries(
        self, reader_id: int, draft: Draft, material: Material, shown: Sequence[tuple[int, PaperView]], now: float
    ) -> tuple[list[_Entry], list[str]]:
        """The papers with their reasons, and what the reader calls the strongest reason of each."""
        queries: dict[int, list[int]] = {}
        for place, query in zip(draft.reason_papers, draft.reason_queries, strict=True):
            queries.setdefault(place, []).append(query)
        language, labels, meanings = translation.current(), material.labels, material.meanings
        entries: list[_Entry] = []
        leading: list[str] = []
        for place, paper in shown:
            found = queries.get(place, [])
            called = [labels[reader_id, query] for query in found]
            entries.append((paper, self._reasons.of(language, paper, called, found, meanings, now)))
            leading += called[:1]
        return entries, leading

    def _fitting(
        self,
        entries: Sequence[_Entry],
        asides: Sequence[_Entry],
        *,
        longest: int,
        most_bytes: int | None,
        around: tuple[int, int],
        feedback: int,
        now: float,
    ) -> list[Card]:
        """The cards of ``entries`` and then ``asides``, with abstracts as long as the size of the mail lets them be.

        At most ``longest`` characters, and halved until the HTML is within MOST_HTML_BYTES and both parts together
        within ``most_bytes``. In bytes: ``around`` is what stands around the cards in HTML and in text, ``feedback``
        what fills that hole. All of it is encoded length, which bounds the decoded one: so nothing is filled in vain.
        """
        tag = translation.current().tag
        beside = [self._card(paper, self._held(tag, paper, now), cards.LONGEST_ABSTRACT // 3) for paper, _ in asides]
        held = [(paper, self._held(tag, paper, now)) for paper, _ in entries]
        holes = self._card(*held[0], longest)  # All cards are of one template, so they have the same.
        words = [reason for _, reason in (*entries, *asides)]
        html_size = (
            around[0]
            + sum([card.html.size for card in beside])
            + sum([len(reason.html) for reason in words]) * holes.html.count("reason")
            + feedback * len(words) * holes.html.count("feedback")
        )
        text_size = (
            around[1]
            + sum([card.text.size for card in beside])
            + sum([len(reason.text) for reason in words]) * holes.text.count("reason")
            + feedback * len(words) * holes.text.count("feedback")
        )
        while True:
            chosen = [lengths.get(longest) or self._card(paper, lengths, longest) for paper, lengths in held]
            pages = html_size + sum([card.html.size for card in chosen])
            whole = pages + text_size + sum([card.text.size for card in chosen])
            fits = pages <= MOST_HTML_BYTES and (most_bytes is None or whole <= most_bytes)
            if fits or longest <= cards.LONGEST_ABSTRACT // 8:
                return chosen + beside
            longest //= 2

    def _held(self, tag: str, paper: PaperView, now: float) -> dict[int, Card]:
        """The cards of a paper that are made and not too old, by the length of the abstract."""
        found = self._cards.get((tag, paper.id), now)
        if found is None:
            found = {}
            self._cards.keep({(tag, paper.id): found}, now)
        return found

    def _card(self, paper: PaperView, lengths: dict[int, Card], longest: int) -> Card:
        """One of :meth:`_held`. Two threads may make the same one, and either serves."""
        card = lengths.get(longest)
        if card is None:
            letterhead = self._letterhead
            card = lengths[longest] = cards.made(paper, letterhead.templates, letterhead.origin, longest)
        return card


def _asides(draft: Draft, material: Material) -> list[_Entry]:
    """The papers that everybody reads, below those that were asked for."""
    found = [material.papers[paper] for paper in draft.trending_ids if paper in material.papers]
    language = translation.current()
    return [(paper, reasons.trending(language, first=number == 0)) for number, paper in enumerate(found)]
