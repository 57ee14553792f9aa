"""Papers as cards of a list, rendered once for as long as the paper stays as it is.

Searches differ, but most show the newest papers: a search that was never asked before finds nearly all of its cards
made, and then asks the database nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from markupsafe import Markup

from service.database import Database
from service.matching.search import Archive
from service.papers import archive
from service.papers.archive import PaperView
from service.web.variants import SPOKEN

_OVERHEAD: Final = 400
"""Bytes of a kept card beside its text."""

Key = tuple[str, int, datetime]


class Cards:
    """Cards in each language, by paper and its last change, as many as have room. Safe for several threads."""

    def __init__(self, database: Database, papers: Archive, render: Callable[[PaperView], Markup], room: int) -> None:
        self._database = database
        self._papers = papers
        self._render = render
        self._room = room
        """Bytes."""
        self._kept: OrderedDict[Key, Markup] = OrderedDict()
        self._size = 0
        self._turn = threading.Lock()

    def of(self, paper_ids: Sequence[int]) -> list[Markup]:
        """The cards of these papers, in their order; those that do not exist are left out."""
        keys = [self._key(paper) for paper in paper_ids]
        with self._turn:
            found = {}
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key[1]] = self._kept[key]
        if missing := [paper for paper in paper_ids if paper not in found]:
            # As new as the database has them: newer than the key says at most, and then soon made again.
            with self._database.transaction() as session:
                views = archive.by_ids(session, missing)
            found |= {paper: self._render(view) for paper, view in views.items()}
            self._keep({key: found[key[1]] for key in keys if key[1] in views})
        return [found[paper] for paper in paper_ids if paper in found]

    def _key(self, paper: int) -> Key:
        return SPOKEN.get(), paper, self._papers.changed_at(paper) or datetime.min  # noqa: DTZ901 (none, not a time)

    def _keep(self, cards: dict[Key, Markup]) -> None:
        with self._turn:
            for key, card in cards.items():
                if key[2] != datetime.min and key not in self._kept:  # noqa: DTZ901
                    self._kept[key] = card
                    self._size += len(card) + _OVERHEAD
            while self._size > self._room and self._kept:
                _, dropped = self._kept.popitem(last=False)
                self._size -= len(dropped) + _OVERHEAD
