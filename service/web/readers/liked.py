"""Interests made of papers that a reader liked: named by arXiv id, DOI, link or words of their title.

Each becomes a query that the reader sees, and may change, before anything is stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.orm import Session

from service.matching import alike
from service.matching.expression import Text, joined
from service.matching.language import And
from service.matching.normalise import tokens
from service.papers import archive, identity
from service.papers.archive import PaperView
from service.papers.identity import ARXIV, DOI
from service.translation import gettext as _
from service.web.serving.forms import InterestForm
from service.web.site import Site

MOST: Final = 10
"""Papers at a time."""
_CHOICES: Final = 5
_LARGEST_ID: Final = 2**63 - 1
_LINK: Final = re.compile(r"^https?://", re.IGNORECASE)
_OURS: Final = re.compile(r"/papers/(\d{1,18})/?$")
_ID_IN_LINK: Final = re.compile(r"/(\d{4}\.\d{4,5})(?:v\d+)?(?:[/.?#]|$)")
"""As other sites' pages on arXiv's papers have it."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A paper, and what finds more like it."""

    title: str
    query: str


@dataclass(frozen=True, slots=True)
class Liked:
    """What became of the papers that were named."""

    made: Sequence[Likeness] = ()
    choices: Sequence[PaperView] = ()
    """Of those whose words several papers bear: the reader says which."""
    unknown: Sequence[str] = ()
    """One line for each that is not here, with the remedy."""


def into_queries(site: Site, form: InterestForm) -> tuple[InterestForm, Liked]:
    """The form with the liked papers turned into queries, and what is to be said of them. Stores nothing."""
    lines = [" ".join(line.split())[:500] for line in form.liked.splitlines() if line.strip()]
    chosen: dict[int, PaperView] = {}
    choices: dict[int, PaperView] = {}
    unknown = []
    with site.database.transaction() as session:
        chosen |= archive.by_ids(session, [paper for paper in form.alike if 0 < paper <= _LARGEST_ID][:MOST])
        for line in lines[:MOST]:
            named, found = _found(site, session, line)
            if len(found) == 1:
                chosen[found[0].id] = found[0]
            elif found:
                choices |= {paper.id: paper for paper in found}
            else:
                unknown.append(_said(line, named=named))
    if len(lines) > MOST:
        unknown.append(_("%(count)s papers at a time are read: name the others after these", count=MOST))
    made = [
        Likeness(paper.title, alike.query_like(site.archive, paper.title, paper.abstract, paper.keywords))
        for paper in chosen.values()
    ]
    queries = dict.fromkeys([*filter(None, map(str.strip, form.queries.splitlines())), *(each.query for each in made)])
    fresh = replace(form, queries="\n".join(queries), liked="", alike=())
    return fresh, Liked(made, [paper for paper in choices.values() if paper.id not in chosen], unknown)


def _found(site: Site, session: Session, line: str) -> tuple[bool, list[PaperView]]:
    """Whether a line names one paper, and the paper; else those that its words may mean, the best first."""
    if _LINK.match(line) and (ours := _OURS.search(line)):
        return True, list(archive.by_ids(session, [int(ours[1])]).values())
    inside = _ID_IN_LINK.search(line) if _LINK.match(line) else None
    for scheme, value in ((ARXIV, identity.arxiv_id(line) or (inside and inside[1])), (DOI, identity.doi(line))):
        if value:
            paper = archive.by_identifier(session, scheme, value)
            return True, [paper] if paper else []
    if _LINK.match(line):
        return True, []
    words = tuple(tokens(line))
    if not words:
        return False, []
    exactly = site.archive.search(Text(words, "title"), limit=2).paper_ids
    if len(exactly) == 1:
        return False, list(archive.by_ids(session, exactly).values())
    all_of_them = joined(And, [Text((word,)) for word in words])
    papers = site.archive.search(all_of_them, limit=_CHOICES, newest_first=False).paper_ids
    views = archive.by_ids(session, papers)
    return False, [views[paper] for paper in papers if paper in views]


def _said(line: str, *, named: bool) -> str:
    if named:
        return _(
            "“%(line)s” is not among the papers here: write words of its title as a keyword instead", line=line[:80]
        )
    return _("no paper here bears the words “%(line)s”: try fewer of them, or its arXiv id", line=line[:80])
