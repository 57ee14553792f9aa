"""What was made of single papers, kept for as long as each paper stays as it is: cards of lists, readings of texts.

Searches and previews differ, but most show the newest papers: one that was never asked before finds nearly all of its
papers made, and then asks the database nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from service import translation
from service.database import Database
from service.matching.search import Archive
from service.papers import archive
from service.papers.archive import PaperView

Made = TypeVar("Made")
Key = tuple[str, int, datetime]


class Kept(Generic[Made]):
    """Something of each paper, in each language, as many as have room. Safe for several threads."""

    def __init__(
        self,
        database: Database,
        papers: Archive,
        make: Callable[[PaperView], Made],
        *,
        room: int,
        weight: Callable[[Made], int],
    ) -> None:
        """``room`` in bytes, ``weight`` what one takes of it."""
        self._database = database
        self._papers = papers
        self._make = make
        self._room = room
        self._weight = weight
        self._kept: OrderedDict[Key, Made] = OrderedDict()
        self._size = 0
        self._turn = threading.Lock()

    def of(self, paper_ids: Sequence[int]) -> dict[int, Made]:
        """What belongs to these papers, in their order; those that do not exist are left out."""
        found = self._here(paper_ids)
        if missing := [paper for paper in paper_ids if paper not in found]:
            # Asked for before the rows are read: these are then as new as that, or newer, and soon made again.
            changed = {paper: self._papers.changed_at(paper) for paper in missing}
            with self._database.transaction() as session:
                views = archive.by_ids(session, missing)
            made = {paper: self._make(view) for paper, view in views.items()}
            self._keep((paper, at, made[paper]) for paper, at in changed.items() if at is not None and paper in made)
            found |= made
        return {paper: found[paper] for paper in paper_ids if paper in found}

    def _here(self, paper_ids: Iterable[int]) -> dict[int, Made]:
        language, found = translation.current().tag, {}
        with self._turn:
            for paper in paper_ids:
                at = self._papers.changed_at(paper)
                if at is not None and (key := (language, paper, at)) in self._kept:
                    self._kept.move_to_end(key)
                    found[paper] = self._kept[key]
        return found

    def _keep(self, made: Iterable[tuple[int, datetime, Made]]) -> None:
        language = translation.current().tag
        with self._turn:
            for paper, at, each in made:
                if (language, paper, at) not in self._kept:
                    self._kept[language, paper, at] = each
                    self._size += self._weight(each)
            while self._size > self._room and self._kept:
                _, dropped = self._kept.popitem(last=False)
                self._size -= self._weight(dropped)
