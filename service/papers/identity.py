"""The names by which papers are known: arXiv ids and DOIs, recognised in any of their spellings."""

from __future__ import annotations

import re
from typing import Final

from service.papers.record import Identifier

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
    rf"({_ARXIV_NEW}|{_ARXIV_OLD})(?:v\d+)?(?:\.pdf)?$",
    re.IGNORECASE,
)
_DOI = re.compile(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}/\S{1,200})$", re.IGNORECASE)


def arxiv_id(text: str) -> str | None:
    """The arXiv id, without version, that ``text`` is (bare, URL, OAI form, or arXiv's own DOI); None if it is none."""
    found = _ARXIV.match(text.strip().removeprefix("https://doi.org/"))
    if found is None:
        return None
    identifier = found[1]
    # Archives of the old form are lower case, their subject classes upper: math.GT/0309136.
    return identifier if "/" not in identifier else _old_form(identifier)


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


def _old_form(identifier: str) -> str:
    archive, _, number = identifier.partition("/")
    name, dot, subject = archive.partition(".")
    return f"{name.lower()}{dot}{subject.upper()}/{number}"
