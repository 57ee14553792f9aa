"""From a paper to a query that finds more like it: shown to the reader, to be changed before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from service.matching.expression import Text, canonical, is_common
from service.matching.normalise import tokens
from service.matching.search import Archive

MOST_TERMS: Final = 5
_MOST_KEYWORDS: Final = 12
_LONGEST_TERM: Final = 4
"""Words of a phrase: a longer one is found in its own paper only."""
_COMMONEST: Final = 0.03
"""Of the archive: a term found in more papers than that is not telling."""
_SMALL: Final = 200
"""Papers of an archive below which shares mean little."""
_VAGUE: Final = frozenset(
    "approach based benchmark dataset efficient evaluating evaluation framework general improving large learning method"
    " model network neural new novel paper robust study survey system task toward towards understanding via".split()
)


def query_like(archive: Archive, title: str, keywords: Sequence[str]) -> str:
    """The query: the most telling keywords and pairs of title words, joined by OR. Never empty.

    A term is the more telling the fewer papers of the archive have it, but another paper than this one must have it;
    where there is no such term, the words of the title are asked for as one phrase.
    """
    size = max(archive.size(), 1)
    most = max(size * _COMMONEST, 3) if size >= _SMALL else size
    counted = []
    for place, words in enumerate(_terms(title, keywords)):
        number = archive.count(Text(words))
        if 1 < number <= most:
            counted.append((len(words) == 1, number, place, words))
    chosen: list[tuple[str, ...]] = []
    for *_, words in sorted(counted):
        if not any(_within(words, other) or _within(other, words) for other in chosen):
            chosen.append(words)
    if not chosen:
        words = tuple(tokens(title)) or ("paper",)
        return canonical(Text(words[:8]))
    return " OR ".join(canonical(Text(words)) for words in chosen[:MOST_TERMS])


def _terms(title: str, keywords: Sequence[str]) -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    for keyword in keywords[:_MOST_KEYWORDS]:
        words = tuple(tokens(keyword))
        if words and len(words) <= _LONGEST_TERM and not all(_says_little(word) for word in words):
            found[words] = None
    in_title = tokens(title)
    for pair in pairwise(in_title):
        if not any(is_common(word) for word in pair) and not all(_says_little(word) for word in pair):
            found[pair] = None
    found.update(dict.fromkeys((word,) for word in in_title if not _says_little(word)))
    return list(found)


def _says_little(word: str) -> bool:
    return is_common(word) or word in _VAGUE or len(word) < 3 or word.isdigit()


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
