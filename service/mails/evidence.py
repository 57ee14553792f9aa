"""The words of a paper by which an interest found it: for the line of reasons, marked. Pure.

Computed once for each paper and query, however many readers it goes to: the cards are rendered without them, and the
line of reasons takes them in.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.mails import quoted
from service.mails.lines import wrapped
from service.mails.parts import NOTHING, Words
from service.matching import marking
from service.matching.expression import Expression, authors, terms
from service.matching.marking import Piece, Reading
from service.matching.normalise import name
from service.papers.archive import PaperView

LONGEST: Final = 110
"""Characters: one line or two."""


@dataclass(frozen=True, slots=True)
class Readings:
    """A paper, read once."""

    paper: PaperView
    title: Reading
    abstract: Reading


def read(paper: PaperView) -> Readings:
    """Where the words of a paper stand, for any number of queries."""
    return Readings(paper, marking.read(paper.title), marking.read(paper.abstract))


def found(readings: Readings, expression: Expression) -> list[Piece]:
    """An excerpt of the title, else of the abstract, else a keyword or an author's name, with what matched marked.

    Empty where only a category, a source or an organization matched: the reason's name says that already.
    """
    wanted = terms(expression)
    for reading, field in ((readings.title, "title"), (readings.abstract, "abstract")):
        places = marking.found(reading, marking.in_field(wanted, field))
        if places:
            return marking.excerpt(reading.text, places, LONGEST)
    anywhere = [term for term in wanted if term.field in (None, "about")]
    for keyword in readings.paper.keywords if anywhere else ():
        made = marking.pieces(keyword, marking.found(marking.read(keyword), anywhere))
        if any(piece.marked for piece in made):
            return made
    named = set(authors(expression))
    return [Piece(author, marked=True) for author in readings.paper.authors if named and name(author) in named][:1]


def encoded(pieces: Sequence[Piece]) -> Words:
    """In HTML with ``mark`` elements, in the text with asterisks; nothing where there is nothing to show."""
    if not pieces:
        return NOTHING
    marked = "".join(
        f"<mark>{html.escape(piece.text)}</mark>" if piece.marked else html.escape(piece.text) for piece in pieces
    )
    plain = "".join(f"*{piece.text}*" if piece.marked else piece.text for piece in pieces)
    return Words(quoted.encoded(f": {marked}"), quoted.encoded(":\n" + wrapped(plain, indent="  ")))
