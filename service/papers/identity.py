"""When two rows speak of one paper: by arXiv ids and DOIs in any of their spellings, at last by title and authors.

Pure. The grades of confidence and their reasons: docs/decisions/010-identity.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from service.papers.record import Identifier
from service.papers.text import title_key

ARXIV: Final = "arxiv"
DOI: Final = "doi"
TITLE: Final = "title"
"""A row without any other name is known by its title's key."""

STRONG: Final = frozenset({ARXIV, DOI})
"""Schemes that name one work beyond doubt."""

# https://info.arxiv.org/help/arxiv_identifier.html: 2606.28354v1 since 2007, hep-th/9901001 before.
_ARXIV_NEW = r"\d{4}\.\d{4,5}"
_ARXIV_OLD = r"[a-z][a-z\-]*(?:\.[A-Z]{2})?/\d{7}"
_ARXIV = re.compile(
    rf"^(?:(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf|html)/|oai:arxiv\.org:|arxiv:|10\.48550/arxiv\.)?"
    rf"(?P<id>{_ARXIV_NEW}|{_ARXIV_OLD})(?:v(?P<version>\d{{1,4}}))?(?:\.pdf)?$",
    re.IGNORECASE,
)
_DOI = re.compile(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}/\S{1,200})$", re.IGNORECASE)


def arxiv_id(text: str) -> str | None:
    """The arXiv id, without version, that ``text`` is (bare, URL, OAI form, or arXiv's own DOI); None if it is none."""
    found = _arxiv(text)
    if found is None:
        return None
    identifier = found["id"]
    # Archives of the old form are lower case, their subject classes upper: math.GT/0309136.
    return identifier if "/" not in identifier else _old_form(identifier)


def arxiv_version(text: str) -> int | None:
    """The version that an arXiv id in any spelling names; None where it names none."""
    found = _arxiv(text)
    return int(found["version"]) or None if found is not None and found["version"] else None


def doi(text: str) -> str | None:
    """The DOI, in lower case, that ``text`` is (bare, URL, ``doi:``); None if it is none."""
    found = _DOI.match(text.strip())
    return found[1].lower().rstrip(".,;") if found else None


def identifiers(*, arxiv: str | None = None, doi_text: str | None = None) -> tuple[Identifier, ...]:
    """What a row says of its names. arXiv's DOIs count as arXiv ids."""
    found = set()
    for text in (arxiv, doi_text):
        if text and (identifier := arxiv_id(text)):
            found.add(Identifier(ARXIV, identifier))
        elif text and (identifier := doi(text)):
            found.add(Identifier(DOI, identifier))
    return tuple(sorted(found))


def _arxiv(text: str) -> re.Match[str] | None:
    return _ARXIV.match(text.strip().removeprefix("https://doi.org/"))


def _old_form(identifier: str) -> str:
    archive, _, number = identifier.partition("/")
    name, dot, subject = archive.partition(".")
    return f"{name.lower()}{dot}{subject.upper()}/{number}"


# ---- the last resort -------------------------------------------------------------------------------------------------

_TELLING_TITLE: Final = 20
"""Letters and digits: a title this long is seldom shared by chance."""
_TELLING_ABSTRACT: Final = 60
_ABSTRACT_LOOKED_AT: Final = 200


def likeness(
    title: str, abstracts: tuple[str, str], authors: tuple[Sequence[str], Sequence[str]], *, named: bool = False
) -> float | None:
    """How surely two works whose titles have the same key ``title`` are one; None: take them for two.

    By what else agrees: authors and abstracts 0.99, abstracts 0.95 (0.9 under other authors' names), authors 0.95
    (0.85 under a short title), a telling title alone 0.8. ``named``: one of them has no other name than this title, so
    that a short one alone does (0.6), unless anything speaks against it.
    """
    telling = len(title) >= _TELLING_TITLE
    people = _agree(authors)
    words = _begin_alike(abstracts)
    if words:
        return 0.99 if people else 0.95 if people is None else 0.9
    # Other people under the same title wrote another work; so did the same people under "Editorial", in other words.
    if people is False or (words is False and not telling):
        return None
    if people:
        return 0.95 if telling else 0.85
    return 0.8 if telling else 0.6 if named else None


def contradict(one: Iterable[Identifier], other: Iterable[Identifier], schemes: frozenset[str] | None = None) -> bool:
    """Whether two sets of names cannot be one paper's: in one of ``schemes`` (all of them, but titles, where none are
    given) both have names, and none in common. A server gives a work one id."""
    ours, theirs = set(one), set(other)
    of_both = {name.scheme for name in ours} & {name.scheme for name in theirs}
    told_apart = of_both - {TITLE} if schemes is None else of_both & schemes
    shared = {name.scheme for name in ours & theirs}
    return bool(told_apart - shared)


def surname(name: str) -> str:
    """The folded surname of a name written "Given Family" or "Family, G."."""
    family = name.partition(",")[0] if "," in name else name.rpartition(" ")[2]
    return title_key(family)


def _agree(authors: tuple[Sequence[str], Sequence[str]]) -> bool | None:
    """Whether half of the shorter list of surnames stand in the other; None where one list is not known."""
    one, other = ({key for name in names if (key := surname(name))} for names in authors)
    if not one or not other:
        return None
    return 2 * len(one & other) >= min(len(one), len(other))


def _begin_alike(abstracts: tuple[str, str]) -> bool | None:
    """None where one of them is too short to tell."""
    one, other = (title_key(abstract[:_ABSTRACT_LOOKED_AT])[:_TELLING_ABSTRACT] for abstract in abstracts)
    both = min(len(one), len(other))
    if one[:both] != other[:both]:
        return False
    return True if both == _TELLING_ABSTRACT else None
