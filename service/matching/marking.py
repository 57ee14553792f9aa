"""What a query matched, marked where it stands in the text. Pure.

The same normaliser that decides a match finds the place, so what is marked is what matched: plurals, hyphens, accents,
words written as one or as two, phrases, and beginnings of words.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from service.matching.expression import Text
from service.matching.normalise import belongs, compounded, singular, tokens

MOST_READ: Final = 8_000
"""Characters of a text that are searched for places."""

_CHUNK = re.compile(r"\S+")
# Letters and digits with what may stand inside a word: accents that are characters of their own, apostrophes, invisible
# signs, and the signs of C++ and C#.
_PIECE = re.compile(
    "[^\\W_](?:[^\\W_]|[\u0300-\u036f\u0900-\u0963\u0970-\u0dff'’ʼ\u00ad\u200b-\u200f\u2060-\u2064+#])*"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Characters ``start`` to ``end`` of a text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, marked or not."""

    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A text with its tokens and the place of each: read once, asked by many queries."""

    text: str
    words: list[str]
    starts: Sequence[int]
    ends: Sequence[int]
    vocabulary: frozenset[str]
    """The distinct words."""

    def place(self, first: int, last: int) -> Place:
        """Of the words from one position to another, both with it."""
        return Place(self.starts[first], self.ends[last])


def read(text: str) -> Reading:
    """The tokens of a text, each with its place. Where a token cannot be placed more closely: the characters around."""
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for chunk in _CHUNK.finditer(text[:MOST_READ]):
        offset = chunk.start()
        for word, start, end in _placed(chunk[0]):
            # Two tokens in one where the normaliser makes them one; what was joined is never a beginning itself.
            if words and belongs(words[-1], word):
                words[-1] += word
                ends[-1] = offset + end
            else:
                words.append(word)
                starts.append(offset + start)
                ends.append(offset + end)
    # Small, as readings are kept by the thousand.
    return Reading(text, words, array("i", starts), array("i", ends), frozenset(words))


def found(reading: Reading, terms: Iterable[Text]) -> list[Place]:
    """Where any of the terms stands, in order, overlapping places made one."""
    places = sorted(
        (place for term in terms for place in _occurrences(reading, term)), key=lambda place: (place.start, place.end)
    )
    merged: list[Place] = []
    for place in places:
        if merged and place.start <= merged[-1].end:
            merged[-1] = Place(merged[-1].start, max(merged[-1].end, place.end))
        else:
            merged.append(place)
    return merged


def pieces(text: str, places: Sequence[Place], start: int = 0, end: int | None = None) -> list[Piece]:
    """The text from ``start`` to ``end`` as marked and unmarked stretches; joined they are that text."""
    end = len(text) if end is None else end
    made: list[Piece] = []
    position = start
    for place in places:
        first, last = max(place.start, start), min(place.end, end)
        if first >= last:
            continue
        if first > position:
            made.append(Piece(text[position:first], marked=False))
        made.append(Piece(text[first:last], marked=True))
        position = last
    if position < end:
        made.append(Piece(text[position:end], marked=False))
    return made


def marked(text: str, terms: Iterable[Text], field: str) -> list[Piece]:
    """A field of a paper (``title``, ``abstract``) with the words marked that the terms want there."""
    return pieces(text, found(read(text), in_field(terms, field)))


def excerpt(text: str, places: Sequence[Place], longest: int) -> list[Piece]:
    """About ``longest`` characters around the first place, whole words, with "…" where text is left out."""
    if len(text) <= longest:
        return pieces(text, places)
    first = places[0].start if places else 0
    start = max(0, first - longest // 3)
    end = min(len(text), max(start + longest, places[0].end if places else 0))
    start = max(0, min(start, end - longest))
    if start:
        space = text.find(" ", start, first)
        start = space + 1 if space >= 0 else first
    if end < len(text):
        space = text.rfind(" ", places[0].end if places else start, end)
        end = space if space > start else end
    made = pieces(text, places, start, end)
    before = [Piece("…", marked=False)] if start else []
    after = [Piece("…", marked=False)] if end < len(text) else []
    return [*before, *made, *after]


def in_field(terms: Iterable[Text], field: str) -> list[Text]:
    """Those of the terms that look into this field."""
    return [term for term in terms if term.field in (None, "about", field)]


def _occurrences(reading: Reading, term: Text) -> Iterator[Place]:
    if term.prefix:
        start, whole = term.words[0], singular(term.words[0])
        for word in reading.vocabulary:
            if word.startswith(start) or word == whole:
                yield from (reading.place(position, position) for position in _positions(reading, word))
        return
    if not reading.vocabulary.issuperset(term.words):
        return
    wanted = list(term.words)
    for position in _positions(reading, wanted[0]):
        if reading.words[position : position + len(wanted)] == wanted:
            yield reading.place(position, position + len(wanted) - 1)


def _positions(reading: Reading, word: str) -> Iterator[int]:
    """Where a word of the vocabulary stands."""
    position = -1
    for _ in range(reading.words.count(word)):
        position = reading.words.index(word, position + 1)
        yield position


@lru_cache(maxsize=65_536)
def _placed(chunk: str) -> tuple[tuple[str, int, int], ...]:
    """The tokens of a run of characters without a space, each with its start and end.

    Piece by piece where that reads the same as the whole.
    """
    whole = tokens(chunk)
    parts: list[tuple[str, int, int]] = []
    for piece in _PIECE.finditer(chunk):
        read_alone = tokens(piece[0])
        if len(read_alone) == len(piece[0]) > 1:
            # A script without spaces: one token a character.
            parts += [(word, piece.start() + at, piece.start() + at + 1) for at, word in enumerate(read_alone)]
        else:
            parts += [(word, piece.start(), piece.end()) for word in read_alone]
    separate = [word for word, _, _ in parts]
    if separate == whole or compounded(separate) == whole:
        return tuple(parts)
    return tuple((word, 0, len(chunk)) for word in whole)
