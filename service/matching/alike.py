"""From a paper to a query that finds more like it: shown to the reader, to be changed before it is kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from service.matching.expression import Text, canonical, is_common
from service.matching.normalise import tokens
from service.matching.search import Archive

MOST_TERMS: Final = 4
_MOST_KEYWORDS: Final = 12
_LONGEST_TERM: Final = 4
"""Words of a phrase: a longer one is found in its own paper only."""
_COMMONEST: Final = 0.03
"""Of the archive: a term found in more papers than that is not telling."""
_REPEATED: Final = 2
_PAIR: Final = 2.0
"""A pair of words tells twice what a word tells."""
_SMALL: Final = 200
"""Papers of an archive below which shares mean little."""
_VAGUE: Final = frozenset(
    "achieve across analysis approach based benchmark better both data dataset demonstrate effective efficient enable"
    " enhance evaluate evaluating evaluation existing experiment framework general high improve improving introduce key"
    " large learning leverage low method model more multiple network neural new novel only outperform paper performance"
    " propose proposed result reveal robust show significantly state study survey system task than through toward"
    " towards two understanding use via while work".split()
)


def query_like(archive: Archive, title: str, abstract: str = "", keywords: Sequence[str] = ()) -> str:
    """The query: the most telling terms, joined by OR. Never empty.

    Candidates are the keywords, what stands in the title, and pairs of words that the abstract repeats. A term tells
    the more the oftener this paper says it and the fewer others do; but another paper must have it too. Where no term
    does, the words of the title are asked for as one phrase.
    """
    size = max(archive.size(), 1)
    most = max(size * _COMMONEST, 3) if size >= _SMALL else size
    said = _said(title, abstract)
    counted = []
    for words in _terms(title, said, keywords):
        number = archive.count(Text(words))
        if 1 < number <= most:
            telling = (1 + said[words]) * math.log(1 + size / number) * (_PAIR if len(words) > 1 else 1)
            counted.append((-telling, words))
    chosen: list[tuple[str, ...]] = []
    for _, words in sorted(counted):
        if not any(set(words) & set(other) for other in chosen):
            chosen.append(words)
    if not chosen:
        return canonical(Text((tuple(tokens(title)) or ("paper",))[:8]))
    return " OR ".join(canonical(Text(words)) for words in chosen[:MOST_TERMS])


def _said(title: str, abstract: str) -> Counter[tuple[str, ...]]:
    """How often the paper says each word and each pair of words."""
    said: Counter[tuple[str, ...]] = Counter()
    for text in (title, abstract):
        words = tokens(text)
        said.update((word,) for word in words)
        said.update(pairwise(words))
    return said


def _terms(title: str, said: Counter[tuple[str, ...]], keywords: Sequence[str]) -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    for keyword in keywords[:_MOST_KEYWORDS]:
        words = tuple(tokens(keyword))
        if words and len(words) <= _LONGEST_TERM and not all(_says_little(word) for word in words):
            found[words] = None
    in_title = tokens(title)
    repeated = (words for words, number in said.items() if number >= _REPEATED)
    for words in (*pairwise(in_title), *repeated, *((word,) for word in in_title)):
        # A word alone must be said again: the first word of many titles is a name that nobody else uses.
        telling = not any(_says_little(word) for word in words)
        if telling and len(words) == (2 if said[words] < _REPEATED else len(words)):
            found[words] = None
    return list(found)


def _says_little(word: str) -> bool:
    return is_common(word) or word in _VAGUE or len(word) < 3 or word.isdigit()
