"""What would have come: the papers of the last days that a set of interests matches, before anything is saved.

The archive's index answers, so that a preview, search and the digest mean the same by a query. What each interest found
is kept while the papers stay, so that ticking one topic more costs one query, and a topic somebody ticked before none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Final

import numpy as np

from service.matching.expression import Exact, Expression, authors
from service.matching.index import Listed
from service.matching.search import Archive, Recent

DAYS: Final = 30
SHOWN: Final = 10
COMMON_NAME: Final = 4
"""Papers of the last thirty days under one full name: hardly anybody writes so many, so it is likely several people."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """An interest to be tried. Compared by identity: whoever keeps these keeps what was made by them."""

    label: str
    expression: Expression
    muted: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The full names that are followed."""
        return () if self.muted else authors(self.expression)


@dataclass(frozen=True, slots=True)
class DayCount:
    """How many papers a day would have brought."""

    day: date
    papers: int


@dataclass(frozen=True, slots=True)
class Example:
    """A paper that would have come, and by which of the interests (positions in what was asked)."""

    paper_id: int
    by: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NameCount:
    """How many papers carry a full name."""

    name: str
    recent: int
    total: int

    @property
    def common(self) -> bool:
        return self.recent >= COMMON_NAME


@dataclass(frozen=True, slots=True)
class Preview:
    """What a set of interests would have brought, over the days of a window."""

    days: tuple[DayCount, ...]
    """Every day of the window, oldest first, empty ones too."""
    total: int
    examples: tuple[Example, ...]
    """The last listed first."""
    names: tuple[NameCount, ...]


def preview(archive: Archive, wanted: Sequence[Wanted], *, days: int = DAYS, shown: int = SHOWN) -> Preview:
    """The papers of the last ``days`` days that any of the followed interests matches and no muted one does."""
    recent = archive.recent(days)
    if recent is None or all(each.muted for each in wanted):
        return Preview((), 0, (), ())
    found = [recent.search(each.expression) for each in wanted]
    listed = Listed.any_of(
        [part for part, each in zip(found, wanted, strict=True) if not each.muted],
        without=[part for part, each in zip(found, wanted, strict=True) if each.muted],
        first=shown,
    )
    counts = np.bincount(listed.days - recent.first.toordinal(), minlength=days)
    few = listed.ages[:shown]
    by: list[list[int]] = [[] for _ in few]
    for position, (part, each) in enumerate(zip(found, wanted, strict=True)):
        if not each.muted:
            for place in np.flatnonzero(part.holds(few)):
                by[place].append(position)
    return Preview(
        days=tuple(DayCount(recent.first + timedelta(days=at), int(count)) for at, count in enumerate(counts)),
        total=len(listed),
        examples=tuple(
            Example(paper, tuple(positions))
            for paper, positions in zip(listed.paper_ids[:shown].tolist(), by, strict=True)
        ),
        names=tuple(_counted(archive, recent, name) for each in wanted for name in each.names),
    )


def names(archive: Archive, expression: Expression) -> tuple[NameCount, ...]:
    """The full names that a query wants, each with its papers: a reader sees whether a name is one person's."""
    wanted = authors(expression)
    recent = archive.recent(DAYS) if wanted else None
    return tuple(_counted(archive, recent, name) for name in wanted) if recent else ()


def _counted(archive: Archive, recent: Recent, name: str) -> NameCount:
    person = Exact("author", name)
    return NameCount(name, len(recent.search(person)), archive.count(person))
