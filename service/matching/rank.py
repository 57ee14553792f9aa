"""From matches to choices: which papers each reader gets, in which order, and why. Pure, in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

HALF_SCORE: Final = 5.0
"""A match of this score is worth half of what a perfect one is: see :func:`worth`."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Parallel arrays, one entry for each (reader, interest, paper) that matched."""

    reader: Ints
    """Positions of readers, 0 … n-1, in any order."""
    paper: Ints
    query: Ints
    score: NDArray[np.float32]
    muted: NDArray[np.bool_]
    """The interest mutes: its papers are unwanted."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """``paper[start[r]:start[r + 1]]`` are reader r's papers, best first.

    ``reason_query[k]`` is a query by which the paper at position ``reason_paper[k]`` of that reader's list came, for
    ``k`` in ``reason_start[r] … reason_start[r + 1]``; the strongest reason of a paper comes first.
    """

    start: Ints
    paper: Ints
    matched: Ints
    """How many papers each reader matched, chosen or not."""
    reason_start: Ints
    reason_paper: Ints
    reason_query: Ints


def worth(score: NDArray[np.float32]) -> NDArray[np.float64]:
    """What one match adds to a paper, between 0 and 1: rising with its score, ever more slowly.

    So a paper of two interests comes before a paper of one that is only a little stronger, and no single score, which
    depends on how rare its words are, drowns the rest.
    """
    strength = np.asarray(score, np.float64)
    return strength / (strength + HALF_SCORE)


def choose(candidates: Candidates, limits: Ints) -> Chosen:
    """The best papers for each of ``len(limits)`` readers.

    A paper that any muted interest matches is out, whatever else matches it. The rest are ordered by the sum of
    :func:`worth` over the interests that matched, ties by paper id, and cut at the reader's limit. No paper twice.
    """
    readers = len(limits)
    width = np.int64(candidates.paper.max(initial=0) + 1)
    pair = candidates.reader * width + candidates.paper
    wanted = ~candidates.muted
    if candidates.muted.any():
        wanted &= ~np.isin(pair, pair[candidates.muted])
    pair, query = pair[wanted], candidates.query[wanted]
    value = worth(candidates.score[wanted])

    # One entry for each (reader, paper), with the sum over its interests.
    distinct, group = np.unique(pair, return_inverse=True)
    total = np.bincount(group, weights=value, minlength=len(distinct))
    reader, paper = distinct // width, distinct % width
    order = np.lexsort((paper, -total, reader))
    first = np.searchsorted(reader[order], np.arange(readers + 1))
    matched = np.diff(first)
    place = np.empty(len(distinct), np.int64)
    place[order] = np.arange(len(order)) - first[reader[order]]
    kept = place < limits[reader]
    shown = order[kept[order]]
    start = np.searchsorted(reader[shown], np.arange(readers + 1))

    # The reasons of the papers that are shown.
    of_shown = kept[group]
    group, query, value = group[of_shown], query[of_shown], value[of_shown]
    by_place = np.lexsort((query, -value, place[group], reader[group]))
    group = group[by_place]
    return Chosen(
        start=start.astype(np.int64),
        paper=paper[shown],
        matched=matched.astype(np.int64),
        reason_start=np.searchsorted(reader[group], np.arange(readers + 1)).astype(np.int64),
        reason_paper=place[group],
        reason_query=query[by_place],
    )
