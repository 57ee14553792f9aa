"""Papers that would have come, as previews show them: with what matched marked, and because of what.

While somebody chooses, each preview is nearly the last one: a paper looks the same until it changes or another of the
interests finds it too, and so its piece of the page is kept by that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from service import translation
from service.mails.evidence import Readings
from service.matching import marking
from service.matching.expression import terms
from service.matching.marking import Piece
from service.matching.preview import Wanted
from service.matching.search import Archive
from service.papers.archive import PaperView
from service.web.kept import Kept

EXCERPT: Final = 220
"""Characters of an abstract."""
_NAMED: Final = 3
_MOST: Final = 8_000
"""Kept, about 2 kB each."""

_Key = tuple[str, int, datetime, tuple[Wanted, ...]]


@dataclass(frozen=True, slots=True)
class ExampleText:
    """What the template is given."""

    paper: PaperView
    title: Sequence[Piece]
    excerpt: Sequence[Piece]
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A paper that would have come, as a page shows it."""

    paper: PaperView
    reasons: Sequence[str]
    shown: Markup


class Examples:
    """Makes and keeps them. Safe for several threads."""

    def __init__(
        self, archive: Archive, readings: Kept[Readings], make: Callable[[ExampleText], Markup], *, most: int = _MOST
    ) -> None:
        self._archive = archive
        self._readings = readings
        self._make = make
        self._most = most
        self._kept: OrderedDict[_Key, ExampleView] = OrderedDict()
        self._turn = threading.Lock()

    def of(self, wanted: Sequence[tuple[int, tuple[Wanted, ...]]]) -> list[ExampleView]:
        """Of each paper, with the interests that found it; papers that do not exist are left out."""
        language = translation.current().tag
        keys: list[_Key | None] = []
        for paper, by in wanted:
            # Asked for before the texts are read: these are then as new as that, or newer, and soon made again.
            changed_at = self._archive.changed_at(paper)
            keys.append((language, paper, changed_at, by) if changed_at is not None else None)
        found: list[ExampleView | None] = []
        with self._turn:
            for key in keys:
                here = self._kept.get(key) if key is not None else None
                if key is not None and here is not None:
                    self._kept.move_to_end(key)
                found.append(here)
        missing = [paper for (paper, _), here in zip(wanted, found, strict=True) if here is None]
        if missing:
            readings = self._readings.of(missing)
            for place, (paper, by) in enumerate(wanted):
                if found[place] is None and paper in readings:
                    found[place] = self._example(readings[paper], by)
            self._keep(keys, found)
        return [each for each in found if each is not None]

    def _keep(self, keys: Sequence[_Key | None], found: Sequence[ExampleView | None]) -> None:
        with self._turn:
            for key, each in zip(keys, found, strict=True):
                if key is not None and each is not None:
                    self._kept[key] = each
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def _example(self, paper: Readings, by: Sequence[Wanted]) -> ExampleView:
        words = list(dict.fromkeys(term for each in by for term in terms(each.expression)))
        in_title = marking.found(paper.title, marking.in_field(words, "title"))
        in_abstract = marking.found(paper.abstract, marking.in_field(words, "abstract"))
        text = ExampleText(
            paper=paper.paper,
            title=marking.pieces(paper.title.text, in_title),
            excerpt=marking.excerpt(paper.abstract.text, in_abstract, EXCERPT),
            reasons=[each.label for each in by][:_NAMED],
        )
        return ExampleView(text.paper, text.reasons, self._make(text))
