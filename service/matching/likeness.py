"""How much papers are like those a reader liked: Rocchio's method over hashed TF-IDF vectors (decision 012). Pure.

A paper is the vector of its words, the title's counted twice, each weighed by how rare it is; a reader is the mean of
what they liked less half the mean of what they disliked (Rocchio 1971, with the weights of Manning, Raghavan and
Schütze, "Introduction to Information Retrieval", 9.1.1, leaning to what is liked). The likeness of a paper is the
cosine of the two, in sixteen steps to either side of neutral, so that upvotes still tell near equals apart. Words fall
into a fixed number of dimensions by their CRC-32, so memory is the same whatever people read, and every run gives the
same.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.matching.expression import is_common
from service.matching.normalise import tokens
from service.matching.rank import NEUTRAL, Ints

DIMENSIONS: Final = 1024
DISLIKED_WEIGHT: Final = 0.5
_STEP: Final = 8
_SPREAD: Final = 2.0
"""Cosines of papers of one field lie within a third of zero; the steps are spent there."""
_TOGETHER: Final = 256
"""Readers compared with all papers at a time."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Background:
    """How many of some papers hold each word: what rarity is measured against."""

    papers: int
    holding: dict[str, int]

    @classmethod
    def of(cls, texts: Iterable[tuple[str, str]]) -> Background:
        """Of titles and abstracts."""
        holding: Counter[str] = Counter()
        papers = 0
        for title, abstract in texts:
            holding.update(_counted(title, abstract).keys())
            papers += 1
        return cls(papers, dict(holding))

    def weights(self, title: str, abstract: str) -> dict[str, float]:
        """The telling words of a paper, as a vector of length 1. Empty for a paper without any."""
        raw = {
            word: (1 + math.log(count)) * math.log((1 + self.papers) / (1 + self.holding.get(word, 0)))
            for word, count in _counted(title, abstract).items()
        }
        length = math.sqrt(sum(weight * weight for weight in raw.values()))
        return {word: weight / length for word, weight in raw.items()} if length else {}

    def vectors(self, texts: Sequence[tuple[str, str]]) -> Vectors:
        """A row of length 1 (or 0) for each title and abstract."""
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, (title, abstract) in zip(rows, texts, strict=True):
            for word, weight in self.weights(title, abstract).items():
                row[zlib.crc32(word.encode()) % DIMENSIONS] += weight
        return _of_length_one(rows)


@dataclass(frozen=True, slots=True)
class Liking:
    """Some readers' taste, to be asked for likenesses. Readers are positions; those who said nothing are left out."""

    reader: Ints
    """Ascending."""
    profile: Vectors
    """A row for each of ``reader``."""
    papers: Vectors
    """A row for each paper that ranking may ask about."""
    begin: int = 0
    """The position that ranking calls 0."""

    def beginning_at(self, begin: int) -> Liking:
        return Liking(self.reader, self.profile, self.papers, begin)

    def __call__(self, reader: Ints, paper: Ints) -> NDArray[np.uint8]:
        """:data:`rank.NEUTRAL` for readers who said nothing; ``reader`` must ascend."""
        levels = np.full(len(reader), NEUTRAL, np.uint8)
        if not len(reader):
            return levels
        first, last = np.searchsorted(self.reader, (reader[0] + self.begin, reader[-1] + self.begin + 1)).tolist()
        for start in range(first, last, _TOGETHER):
            end = min(start + _TOGETHER, last)
            levels_here = level(self.profile[start:end] @ self.papers.T)
            low, high = np.searchsorted(reader + self.begin, (self.reader[start], self.reader[end - 1] + 1)).tolist()
            whose = reader[low:high] + self.begin
            row = np.minimum(np.searchsorted(self.reader[start:end], whose), end - start - 1)
            known = self.reader[start:end][row] == whose
            levels[low:high][known] = levels_here[row[known], paper[low:high][known]]
        return levels


def profile(vectors: Vectors, owner: Ints, liked: NDArray[np.bool_], owners: int) -> Vectors:
    """The taste of ``owners`` readers from the vectors of the papers they spoke of; row i of ``vectors`` is a paper of
    reader ``owner[i]``."""
    rows = np.zeros((owners, vectors.shape[1]), np.float32)
    for wanted, weight in ((liked, 1.0), (~liked, -DISLIKED_WEIGHT)):
        number = np.bincount(owner[wanted], minlength=owners)
        share = (weight / np.maximum(number, 1))[owner[wanted]]
        np.add.at(rows, owner[wanted], vectors[wanted] * share[:, None].astype(np.float32))
    return _of_length_one(rows)


def level(cosine: Vectors) -> NDArray[np.uint8]:
    """Cosines as ranking compares them: 0 to 255 in steps, neutral in the middle."""
    steps = np.rint(np.clip(cosine * _SPREAD, -1, 1) * (NEUTRAL // _STEP)).astype(np.int64)
    levels: NDArray[np.uint8] = (NEUTRAL + steps * _STEP).clip(0, 255).astype(np.uint8)
    return levels


def learned_words(
    background: Background, liked: Sequence[tuple[str, str]], disliked: Sequence[tuple[str, str]], most: int = 10
) -> tuple[list[str], list[str]]:
    """What was learned, to be told to the reader: the words that raise a paper most, and those that lower it most.

    Words in the form they are compared in, strongest first, ties in the order of the alphabet.
    """
    total: dict[str, float] = defaultdict(float)
    for texts, weight in ((liked, 1.0), (disliked, -DISLIKED_WEIGHT)):
        for title, abstract in texts:
            for word, value in background.weights(title, abstract).items():
                total[word] += weight * value / len(texts)
    ordered = sorted(total, key=lambda word: (-total[word], word))
    raising = [word for word in ordered if total[word] > 0][:most]
    lowering = sorted((word for word in ordered if total[word] < 0), key=lambda word: (total[word], word))[:most]
    return raising, lowering


def _counted(title: str, abstract: str) -> Counter[str]:
    words = tokens(title) * 2 + tokens(abstract)
    return Counter(word for word in words if len(word) > 1 and not word.isdigit() and not is_common(word))


def _of_length_one(rows: Vectors) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1)).astype(np.float32)
