"""Of all that a reader's interests match, the few papers that may be chosen for them. Pure (decision 026).

A reader whose interests match a hundred papers gets twelve, and which twelve depends on few of the hundred. Ranking
(``rank``) goes by these; leaving the others out changes no choice, no order and no reason:

- After some number of helpings, all that may be chosen has come. It is bounded from below how many papers so many
  helpings bring, by the sizes of the interests' matches and of what several of them match.
- A paper that one interest alone matches stands in its interest's queue behind every paper that is before it in the
  order of the query by itself: what others match too only moves forward. So of these only the first few of each query
  can come in so many helpings, and the order of a query's papers is the same for all readers who follow it.
- Papers that several interests match are all kept, with every interest: they are few.

Which papers several interests match, how many in all, and which are muted, is read from sets held as bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.matching.rank import STRENGTH, Candidates, Ints, esteem

_WORD: Final = 64
_EVERYTHING: Final = 1 << 40
"""More helpings than any query has papers."""
_ESTEEM_BITS: Final = 6
_STANDING_BITS: Final = 4 + _ESTEEM_BITS
_STANDINGS: Final = 1 << _STANDING_BITS

Sets = NDArray[np.uint64]
"""Rows of sets of papers: paper p is bit p % 64 of word p // 64."""


@dataclass(frozen=True, slots=True)
class Lists:
    """What some queries match: ``paper[start[i]:start[i + 1]]`` belong to list i, ascending."""

    start: Ints
    paper: NDArray[np.int32]
    """Positions in the papers of a window, as everywhere in ranking."""
    places: NDArray[np.uint8]
    best_paper: NDArray[np.int32]
    """As ``paper``, but each list in the order in which its papers stand where no other interest matches them."""
    best_places: NDArray[np.uint8]
    sets: Sets
    before: NDArray[np.int32]
    """Parallel to ``sets``: how many papers of the list lie in earlier words."""

    def __len__(self) -> int:
        return len(self.start) - 1

    @classmethod
    def of(cls, start: Ints, paper: NDArray[np.int32], places: NDArray[np.uint8], upvotes: Ints) -> Lists:
        """Of matches ordered by list and paper; ``upvotes`` of all papers of the window."""
        row = np.repeat(np.arange(len(start) - 1), np.diff(start))
        sets = np.zeros((len(start) - 1, max(-(-len(upvotes) // _WORD), 1)), np.uint64)
        word = row * sets.shape[1] + (paper >> 6)
        begins = _beginnings(word)
        if len(begins):
            sets.ravel()[word[begins]] = np.bitwise_or.reduceat(_bit(paper), begins)
        number = np.bitwise_count(sets)
        paper_bits = max(len(upvotes).bit_length(), 1)
        standing = (STRENGTH[places] << _ESTEEM_BITS) | esteem(upvotes)[paper]
        order = np.argsort(
            (((row << _STANDING_BITS) | (_STANDINGS - 1 - standing)) << paper_bits) | paper, kind="stable"
        )
        before = np.cumsum(number, axis=1, dtype=np.int32) - number
        return cls(start, paper, places, paper[order], places[order], sets, before)

    def and_those(self, others: Lists) -> Lists:
        """These lists and then those, of the same window."""
        return Lists(
            np.concatenate((self.start, others.start[1:] + self.start[-1])),
            np.concatenate((self.paper, others.paper)),
            np.concatenate((self.places, others.places)),
            np.concatenate((self.best_paper, others.best_paper)),
            np.concatenate((self.best_places, others.best_places)),
            np.concatenate((self.sets, others.sets)),
            np.concatenate((self.before, others.before)),
        )


@dataclass(frozen=True, slots=True)
class Shortlist:
    """What may be chosen for each of some readers."""

    candidates: Candidates
    """Without anything that is muted."""
    matched: Ints
    """How many papers each reader's interests match, muted ones left out, on the list or not."""
    muted: Sets | None
    """For each reader what an interest of theirs mutes; None where nobody mutes anything."""

    def mutes(self, papers: Ints) -> NDArray[np.bool_]:
        """Reader × paper."""
        if self.muted is None:
            return np.zeros((len(self.matched), len(papers)), np.bool_)
        muted: NDArray[np.bool_] = (self.muted[:, papers >> 6] & _bit(papers)) != 0
        return muted


def shortlist(
    lists: Lists,
    reader: Ints,
    slot: Ints,
    row: Ints,
    muted: NDArray[np.bool_],
    limits: Ints,
    whole: NDArray[np.bool_] | None = None,
) -> Shortlist:
    """The candidates that matter, from parallel arrays of interests: their readers (ascending), slots and lists.

    ``limits`` are the readers'. Readers marked in ``whole`` keep all that matched: their likenesses (``likeness``) give
    every paper another standing.
    """
    readers = len(limits)
    mutes = None
    if muted.any():
        mutes = np.zeros((readers, lists.sets.shape[1]), np.uint64)
        np.bitwise_or.at(mutes, reader[muted], lists.sets[row[muted]])
        reader, slot, row = reader[~muted], slot[~muted], row[~muted]
    mine = lists.sets[row]
    length = lists.start[row + 1] - lists.start[row]
    size = length
    if mutes is not None:
        mine &= ~mutes[reader]
        size = _sizes(mine)
    first = np.searchsorted(reader, np.arange(readers + 1))
    once, twice = _unions(mine, first)
    matched = _sizes(once)
    shared = mine & twice[reader]
    helpings = np.full(readers, _EVERYTHING)
    crowded = matched > limits if whole is None else (matched > limits) & ~whole
    if crowded.any():
        helpings[crowded] = _helpings(
            crowded[reader], first, size, _sizes(shared), _sizes(twice)[crowded], limits[crowded]
        )
    # Muted papers hold places in the order too.
    few = np.minimum(helpings[reader] + length - size, length)
    interest, place = positions(lists.start[row], few)
    paper = lists.best_paper[place]
    alone = ((mine ^ shared)[interest, paper >> 6] & _bit(paper)) != 0
    interest, place = interest[alone], place[alone]
    of_shared, where = _members(lists, row, shared)
    everything = np.concatenate((interest, of_shared))
    return Shortlist(
        Candidates(
            reader=reader[everything],
            slot=slot[everything],
            paper=np.concatenate((lists.best_paper[place], lists.paper[where])).astype(np.int64),
            places=np.concatenate((lists.best_places[place], lists.places[where])),
            muted=np.zeros(len(everything), np.bool_),
        ),
        matched,
        mutes,
    )


def _unions(mine: Sets, first: Ints) -> tuple[Sets, Sets]:
    """What at least one interest of each reader matches, and what at least two do."""
    count = np.diff(first)
    once = np.zeros((len(count), mine.shape[1]), np.uint64)
    twice = np.zeros_like(once)
    for nth in range(int(count.max(initial=0))):
        have = np.flatnonzero(count > nth)
        here, there = mine[first[have] + nth], once[have]
        twice[have] |= there & here
        once[have] = there | here
    return once, twice


def _helpings(crowded: NDArray[np.bool_], first: Ints, size: Ints, overlap: Ints, shared: Ints, limits: Ints) -> Ints:
    """In how many helpings each crowded reader's limit is reached for certain.

    ``crowded`` says which interests are theirs, of which ``size`` papers match, ``overlap`` of them other interests
    too; the last two are by crowded reader: how many papers several interests match, and the limit.
    """
    count = np.add.reduceat(crowded, first[:-1][np.diff(first) > 0])
    count = count[count > 0]
    start = np.cumsum(count) - count
    size, overlap = size[crowded], overlap[crowded]
    repeated = np.add.reduceat(overlap, start) - shared
    low, high = np.ones_like(limits), np.minimum(limits, np.maximum.reduceat(size, start))
    while (low < high).any():
        middle = (low + high) >> 1
        served = np.minimum(np.repeat(middle, count), size)
        # A paper served to several interests is one: at most so many are served again; those of one alone never are.
        enough = np.add.reduceat(served, start) - repeated >= limits
        enough |= np.add.reduceat(np.maximum(served - overlap, 0), start) >= limits
        enough |= np.maximum.reduceat(served, start) >= limits
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle + 1)
    return low


def _members(lists: Lists, row: Ints, sets: Sets) -> tuple[Ints, Ints]:
    """Every member of the sets, which are parts of the lists ``row``: whose it is, and its position in ``lists``."""
    whose, word = np.nonzero(sets)
    left = sets[whose, word]
    of_list = lists.sets[row[whose], word]
    base = lists.start[row[whose]] + lists.before[row[whose], word]
    found, positions = [whose[:0]], [base[:0]]
    while len(left):
        lowest = left & (~left + np.uint64(1))
        found.append(whose)
        positions.append(base + np.bitwise_count(of_list & (lowest - np.uint64(1))))
        left = left ^ lowest
        more = np.flatnonzero(left)
        whose, left, of_list, base = whose[more], left[more], of_list[more], base[more]
    return np.concatenate(found), np.concatenate(positions)


def positions(start: Ints, count: Ints) -> tuple[Ints, Ints]:
    """start[i], start[i] + 1, … ``count[i]`` of them, one i after the other; and the i of each."""
    which = np.repeat(np.arange(len(start)), count)
    before = np.cumsum(count) - count
    return which, np.arange(len(which)) + (start - before)[which]


def _beginnings(values: Ints) -> Ints:
    """Where in sorted values another one begins."""
    if not len(values):
        return np.empty(0, np.int64)
    return np.concatenate((np.zeros(1, np.int64), np.flatnonzero(values[1:] != values[:-1]) + 1))


def _sizes(sets: Sets) -> Ints:
    sizes: Ints = np.bitwise_count(sets).sum(axis=1, dtype=np.int64)
    return sizes


def _bit(paper: NDArray[np.int32] | Ints) -> Sets:
    return np.left_shift(np.uint64(1), (paper & (_WORD - 1)).astype(np.uint64))
