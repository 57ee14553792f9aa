"""From matches to choices: which papers each reader gets, in which order, and why. Pure, in numpy (decision 014).

1. What any muted interest matches is out, whatever else matches it.
2. Each paper has a *standing* with its reader, of these, the earlier outweighing all later ones:

   - its tier: an author, or a phrase in the title, was asked for (2); several signals, from one interest or from
     several (1); one signal (0). That the abstract dwells on a word and does not only mention it is a signal;
   - where it was found: in the title or as an author (2), in other text (1), by a category or source alone (0);
   - the number of interests that matched it;
   - its likeness to what the reader liked (``likeness``), for readers who said;
   - the logarithm of its upvotes;
   - ties: the lower id.

3. Where more matched than the reader's limit, each interest is helped in turn: before any interest gets a second paper
   every one has got its first, in the order of standing. A paper that several interests matched helps all of them.
   An interest that a reader wants more of gets two papers in each turn, one they want less of gets one in every second.
4. What is chosen is shown in the order of standing.

Everything of a chunk of readers is packed into integers of 64 bits and sorted; no step looks at one reader. What is to
be sorted is in the order of readers already, and only a few numbers of each are not: numpy's stable sort, which goes by
what is in order, takes a third of the time of its quickest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.matching.places import BITS, SIGNALS, TELLING, Place

Ints = NDArray[np.int64]

NEUTRAL: Final = 128
"""The likeness of a paper to a reader of whom nothing was learned; 0 is least, 255 most alike."""
MOST_COUNTED: Final = 15
"""Interests that matched one paper, beyond which more do not raise it."""
MOST_INTERESTS: Final = 128
"""Of one reader: a slot is seven bits."""
_SLOT_BITS: Final = 7
_TABLE: Final = 16_000_000
"""Bytes of a table of all (reader, paper); where more would be needed, the pairs are searched for."""
_COUNT_BITS, _LIKENESS_BITS, _UPVOTE_BITS = 4, 8, 6
_STANDING_BITS: Final = 2 + 2 + _COUNT_BITS + _LIKENESS_BITS + _UPVOTE_BITS
_STANDINGS: Final = 1 << _STANDING_BITS

# Of each of the 128 combinations of places, what ranking asks.
_COMBINED = np.arange(1 << BITS, dtype=np.uint8)
_SEVERAL = np.bitwise_count(_COMBINED & int(SIGNALS)) >= 2
_TIER = np.where(_COMBINED & int(TELLING), 2, np.where(_SEVERAL, 1, 0)).astype(np.int64)
_OTHER_TEXT = Place.ABSTRACT | Place.KEYWORDS | Place.ORGANIZATION
_WHERE = np.where(_COMBINED & int(Place.TITLE | Place.AUTHOR), 2, np.where(_COMBINED & int(_OTHER_TEXT), 1, 0)).astype(
    np.int64
)
STRENGTH: Final = (_TIER * 3 + _WHERE).astype(np.int64)
"""By a match's places: what one interest alone says of a paper, 0 to 8. The strongest reason is told first."""

Likeness = Callable[[Ints, Ints], NDArray[np.uint8]]
"""From parallel arrays of readers (ascending) and papers, both as positions, to likenesses."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Parallel arrays, one entry for each (reader, interest, paper) that matched; in any order."""

    reader: Ints
    """Positions of readers, 0 … n-1."""
    slot: Ints
    """Which of the reader's interests, from 0; fewer than :data:`MOST_INTERESTS`."""
    paper: Ints
    """Positions in ``upvotes``. The order of positions is the order of papers' ids."""
    places: NDArray[np.uint8]
    """Where in the paper: :class:`service.matching.places.Place`."""
    muted: NDArray[np.bool_]
    """The interest mutes: its papers are unwanted."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The interests that readers want more or less of; parallel arrays, the others are left out."""

    interest: Ints
    """``reader << 7 | slot``, ascending."""
    weight: Ints
    """1 for more, -1 for less."""

    @classmethod
    def of(cls, reader: Ints, slot: Ints, weight: Ints) -> Weights | None:
        """None where nobody weighs anything. ``reader`` and, within each, ``slot`` ascend."""
        said = np.flatnonzero(weight)
        return cls((reader[said] << _SLOT_BITS) | slot[said], weight[said]) if len(said) else None


@dataclass(frozen=True, slots=True)
class Chosen:
    """``paper[start[r]:start[r + 1]]`` are positions of reader r's papers, best first.

    ``reason_slot[k]`` is an interest by which the paper at position ``reason_paper[k]`` of that reader's list came, for
    ``k`` in ``reason_start[r] … reason_start[r + 1]``; the strongest reason of a paper comes first.
    """

    start: Ints
    paper: Ints
    matched: Ints
    """How many papers each reader matched, chosen or not."""
    reason_start: Ints
    reason_paper: Ints
    reason_slot: Ints


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Several sets of candidates of the same readers as one."""
    if len(parts) == 1:
        return parts[0]
    none = np.empty(0, np.int64)
    return Candidates(
        reader=np.concatenate([none, *(part.reader for part in parts)]),
        slot=np.concatenate([none, *(part.slot for part in parts)]),
        paper=np.concatenate([none, *(part.paper for part in parts)]),
        places=np.concatenate([np.empty(0, np.uint8), *(part.places for part in parts)]),
        muted=np.concatenate([np.empty(0, np.bool_), *(part.muted for part in parts)]),
    )


def one_after_the_other(parts: Sequence[Chosen]) -> Chosen:
    """What was chosen for some readers and for those that follow them, as one."""

    def starts(arrays: Sequence[Ints]) -> Ints:
        """Each begins where the one before it ended."""
        ends = np.cumsum([0, *(int(each[-1]) for each in arrays)])
        return np.concatenate(
            [np.zeros(1, np.int64), *(each[1:] + end for each, end in zip(arrays, ends, strict=False))]
        )

    return Chosen(
        start=starts([part.start for part in parts]),
        paper=np.concatenate([part.paper for part in parts]),
        matched=np.concatenate([part.matched for part in parts]),
        reason_start=starts([part.reason_start for part in parts]),
        reason_paper=np.concatenate([part.reason_paper for part in parts]),
        reason_slot=np.concatenate([part.reason_slot for part in parts]),
    )


def esteem(upvotes: Ints) -> Ints:
    """The logarithm of upvotes as ranking counts it: four steps to each doubling, 0 to 63."""
    levels: Ints = (4 * np.log2(1 + np.maximum(upvotes, 0))).astype(np.int64)
    return levels.clip(0, (1 << _UPVOTE_BITS) - 1)


def choose(
    candidates: Candidates,
    limits: Ints,
    upvotes: Ints,
    likeness: Likeness | None = None,
    weights: Weights | None = None,
) -> Chosen:
    """The best papers for each of ``len(limits)`` readers, by the rules above. No paper twice."""
    readers = len(limits)
    paper_bits = max(len(upvotes).bit_length(), 1)
    entries = _grouped(candidates, paper_bits)
    slot = (entries >> BITS) & (MOST_INTERESTS - 1)
    places = entries & ((1 << BITS) - 1)
    pair = entries >> (BITS + _SLOT_BITS)

    # One group for each (reader, paper), by reader and paper.
    start = np.flatnonzero(np.diff(pair, prepend=-1))
    reader, paper = pair[start] >> paper_bits, pair[start] & ((1 << paper_bits) - 1)
    size = np.diff(start, append=len(pair))
    everywhere = np.bitwise_or.reduceat(places, start) if len(start) else places[:0]
    first = np.searchsorted(reader, np.arange(readers + 1))
    matched = np.diff(first)

    alike = likeness(reader, paper).astype(np.int64) if likeness is not None else NEUTRAL
    standing = np.where(size > 1, np.maximum(_TIER[everywhere], 1), _TIER[everywhere])
    for bits, part in (
        (2, _WHERE[everywhere]),
        (_COUNT_BITS, np.minimum(size, MOST_COUNTED)),
        (_LIKENESS_BITS, alike),
        (_UPVOTE_BITS, esteem(upvotes)[paper]),
    ):
        standing = (standing << bits) | part

    # Best first within each reader; the ordinal among the reader's groups breaks ties and finds the group again.
    ordinal = np.arange(len(start)) - first[reader]
    packed = (((reader << _STANDING_BITS) | (_STANDINGS - 1 - standing)) << paper_bits) | ordinal
    packed.sort(kind="stable")
    order = first[reader] + (packed & ((1 << paper_bits) - 1))
    chosen = np.ones(len(order), np.bool_)
    crowded = matched > limits
    if crowded.any():
        rank = np.empty(len(order), np.int64)
        rank[order] = ordinal
        of_entry = np.repeat(rank, size)
        chosen[crowded[reader]] = False
        served = crowded[pair >> paper_bits]
        for_reader = (pair >> paper_bits)[served]
        chosen[_helped(for_reader, slot[served], of_entry[served], first, limits, paper_bits, weights)] = True
    shown = order[chosen]
    return Chosen(
        start=np.searchsorted(reader[shown], np.arange(readers + 1)).astype(np.int64),
        paper=paper[shown],
        matched=matched.astype(np.int64),
        **_reasons(shown, reader[shown], start, size, slot, places, readers),
    )


def _grouped(candidates: Candidates, paper_bits: int) -> Ints:
    """Entries that are wanted, as (reader, paper, slot, places) packed and sorted."""
    packed = (candidates.reader << paper_bits) | candidates.paper
    if candidates.muted.any():
        wanted = ~_among(packed[candidates.muted], packed)
        packed = (((packed[wanted] << _SLOT_BITS) | candidates.slot[wanted]) << BITS) | candidates.places[wanted]
    else:
        packed = (((packed << _SLOT_BITS) | candidates.slot) << BITS) | candidates.places
    packed.sort(kind="stable")
    return packed


def _among(some: Ints, values: Ints) -> NDArray[np.bool_]:
    """For each of the values, which are not negative, whether it is one of ``some``, which are not empty."""
    size = int(values.max()) + 1
    if size <= _TABLE:
        table = np.zeros(size, np.bool_)
        table[some] = True
        among: NDArray[np.bool_] = table[values]
        return among
    ordered = np.unique(some)
    found: NDArray[np.bool_] = ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values
    return found


def _helped(
    reader: Ints, slot: Ints, rank: Ints, first: Ints, limits: Ints, paper_bits: int, weights: Weights | None
) -> Ints:
    """Step 3: positions, in the order of standing, of what these readers get. One entry for each interest and paper;
    ``rank`` is the paper's place in the reader's order of standing."""
    low = (1 << paper_bits) - 1
    packed = (((reader << _SLOT_BITS) | slot) << paper_bits) | rank
    packed.sort(kind="stable")
    interest = packed >> paper_bits
    begins = np.flatnonzero(np.diff(interest, prepend=-1))
    helping = np.arange(len(packed)) - np.repeat(begins, np.diff(begins, append=len(packed)))
    of = interest >> _SLOT_BITS
    # An interest by itself fills the limit with its first so many.
    near = helping < limits[of]
    of, helping, rank, interest = of[near], helping[near], packed[near] & low, interest[near]
    if weights is not None and len(weights.interest):
        at = np.minimum(np.searchsorted(weights.interest, interest), len(weights.interest) - 1)
        weight = np.where(weights.interest[at] == interest, weights.weight[at], 0)
        seldom = np.minimum(2 * helping + 1, low)
        helping = np.where(weight > 0, helping // 2, np.where(weight < 0, seldom, helping))
    # The first helping in which a paper comes is the one that counts.
    by_paper = (((of << paper_bits) | rank) << paper_bits) | helping
    by_paper.sort(kind="stable")
    kept = by_paper[np.flatnonzero(np.diff(by_paper >> paper_bits, prepend=-1))]
    of, rank, helping = kept >> (2 * paper_bits), (kept >> paper_bits) & low, kept & low
    turn = (((of << paper_bits) | helping) << paper_bits) | rank
    turn.sort(kind="stable")
    of = turn >> (2 * paper_bits)
    before = np.searchsorted(of, np.arange(len(limits)))
    taken = np.arange(len(turn)) - before[of] < limits[of]
    positions: Ints = first[of[taken]] + (turn[taken] & low)
    return positions


def _reasons(
    shown: Ints, reader: Ints, start: Ints, size: Ints, slot: Ints, places: Ints, readers: int
) -> dict[str, Ints]:
    """For the groups that are shown: their entries, the strongest first, then by slot."""
    count = size[shown]
    before = np.cumsum(count) - count
    entry = np.arange(int(count.sum())) + np.repeat(start[shown] - before, count)
    at = np.repeat(np.arange(len(shown)), count)
    packed = (((at << 4) | (int(STRENGTH.max()) - STRENGTH[places[entry]])) << _SLOT_BITS) | slot[entry]
    packed.sort(kind="stable")
    begins = np.searchsorted(reader, np.arange(readers + 1))
    whose = reader[at]
    return {
        "reason_start": np.searchsorted(whose, np.arange(readers + 1)).astype(np.int64),
        "reason_paper": at - begins[whose],
        "reason_slot": packed & (MOST_INTERESTS - 1),
    }
