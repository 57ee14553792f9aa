"""What an abstract dwells on, as against what it mentions once in passing. Pure (decision 032).

Two signs, both chosen on the first half of the labels (``benchmarks/relevance.py``): it is said more than once, or it
is introduced with an abbreviation, as in "large language models (LLMs)", which authors do for what they go on about.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from service.matching.expression import is_common
from service.matching.normalise import tokens

_ABBREVIATION: Final = re.compile(r"\(([^()\s,;]{2,12})[,;)]")
_FEWEST_CAPITALS: Final = 2
_LOOKED_BACK: Final = 80
"""Characters before an abbreviation in which its long form stands."""
LONGEST_RUN: Final = 8
"""Words. No term is longer; and of a text that repeats itself, every run of every length would be one."""


def dwelt_on(abstract: str, words: Sequence[str]) -> tuple[str, ...]:
    """Runs of words, with spaces between, that an abstract dwells on. ``words`` are its tokens.

    None begins or ends with a very common word: look one up as :func:`asked` writes it.
    """
    return tuple(dict.fromkeys([*_repeated(words), *_introduced(abstract)]))


def asked(words: Sequence[str]) -> str:
    """A phrase as it stands among what :func:`dwelt_on` gives; empty for common words alone."""
    first, last = 0, len(words)
    while first < last and is_common(words[first]):
        first += 1
    while first < last and is_common(words[last - 1]):
        last -= 1
    return " ".join(words[first:last])


def _repeated(words: Sequence[str]) -> Iterator[str]:
    """Every run of at most ``LONGEST_RUN`` words that occurs more than once, its occurrences overlapping or not."""
    counted = Counter(words)
    if len(counted) == len(words):
        return
    yield from (word for word, number in counted.items() if number > 1 and not is_common(word))
    pairs = list(pairwise(words))
    often = {pair for pair, number in Counter(pairs).items() if number > 1 and not is_common(pair[0])}
    places = [place for place, pair in enumerate(pairs) if pair in often] if often else []
    length = 2
    while places and length <= LONGEST_RUN:
        # A longer run occurs twice only where a shorter one does.
        runs: dict[str, list[int]] = {}
        for place in places:
            if place + length <= len(words):
                runs.setdefault(" ".join(words[place : place + length]), []).append(place)
        places = []
        for run, at in runs.items():
            if len(at) > 1:
                places += at
                if not is_common(words[at[0] + length - 1]):
                    yield run
        length += 1


def _introduced(abstract: str) -> Iterator[str]:
    """Abbreviations in parentheses, and what ends before them, of as many words at most as they have letters."""
    for found in _ABBREVIATION.finditer(abstract):
        short = found[1].removesuffix("s")
        if sum(letter.isupper() for letter in short) < _FEWEST_CAPITALS:
            continue
        yield from _without_common_ends([tokens(found[1])])
        before = tokens(abstract[max(0, found.start() - _LOOKED_BACK) : found.start()])
        letters = sum(letter.isalnum() for letter in short)
        yield from _without_common_ends([before[-many:] for many in range(1, min(letters, len(before)) + 1)])


def _without_common_ends(runs: Sequence[Sequence[str]]) -> Iterator[str]:
    for run in runs:
        if run and not is_common(run[0]) and not is_common(run[-1]):
            yield " ".join(run)
