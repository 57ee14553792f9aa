"""Why a paper is in a digest: the interests that asked for it, and its own words that answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from service import translation
from service.mails import evidence, parts
from service.mails.evidence import Readings
from service.mails.kept import Kept
from service.mails.lines import wrapped
from service.mails.material import MOST_PAPERS, PAPER_SECONDS
from service.mails.parts import NOTHING, Words
from service.matching.expression import Expression
from service.papers.archive import PaperView
from service.translation import Language, gettext, joined

_MOST_EVIDENCE: Final = 200_000
_NAMED: Final = 3
"""Interests in one line."""


class Reasons:
    """Makes the line; keeps what papers show for queries, whoever asked."""

    def __init__(self) -> None:
        self._readings: Kept[int, Readings] = Kept(seconds=PAPER_SECONDS, most=MOST_PAPERS)
        self._evidence: Kept[tuple[int, int], Words] = Kept(seconds=PAPER_SECONDS, most=_MOST_EVIDENCE)

    def of(
        self,
        language: Language,
        paper: PaperView,
        labels: Sequence[str],
        queries: Sequence[int],
        meanings: Mapping[int, Expression],
        now: float,
    ) -> Words:
        """In the reader's words (``labels`` of ``queries``), then in the paper's: those of the strongest reason, the
        first. ``language`` is the one of the moment."""
        said = _said(language, tuple(labels))
        if not queries:
            return said
        shown = self._evidence.get((paper.id, queries[0]), now)
        if shown is None:
            shown = self._shown(paper, queries[0], meanings, now)
        return Words(said.html + shown.html, said.text + shown.text)

    def _shown(self, paper: PaperView, query: int, meanings: Mapping[int, Expression], now: float) -> Words:
        meant = meanings.get(query)
        if meant is None:
            return NOTHING
        read = self._readings.get(paper.id, now)
        if read is None:
            read = evidence.read(paper)
            self._readings.keep({paper.id: read}, now)
        made = evidence.encoded(evidence.found(read, meant))
        self._evidence.keep({(paper.id, query): made}, now)
        return made


@lru_cache(maxsize=2 * len(translation.LANGUAGES))
def trending(_language: Language, *, first: bool) -> Words:
    """The line of a paper that nobody asked for. ``_language`` is the one of the moment: it belongs to what is
    remembered."""
    said = gettext("Widely read these days")
    if first:
        said = gettext("Trending, beside what you asked for. %(why)s", why=said)
    return parts.words(said, wrapped(said))


@lru_cache(maxsize=50_000)
def _said(_language: Language, labels: tuple[str, ...]) -> Words:
    said = _because(labels)
    return parts.words(said, wrapped(said))


def _because(labels: Sequence[str]) -> str:
    named = list(dict.fromkeys(labels))[:_NAMED]
    if not named:
        return gettext("Because it matches your topics")
    return gettext("Because you follow %(interests)s", interests=joined(named))
