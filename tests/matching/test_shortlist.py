"""What is left off the list is what could not have been chosen, whoever asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.matching.places import Place
from service.matching.rank import Candidates, choose
from service.matching.shortlist import Lists, shortlist

PAPERS, QUERIES, READERS = 150, 12, 6
PLACES = [
    Place.TITLE,
    Place.ABSTRACT,
    Place.TAG,
    Place.AUTHOR,
    Place.TITLE | Place.PHRASE,
    Place.TITLE | Place.ABSTRACT,
    Place.ABSTRACT | Place.DWELT_ON,
]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[int]], list[list[tuple[int, bool]]], list[int], list[bool], int]:
    """What each query matches; each reader's interests, muted or not; limits; who is asked for everything; a seed."""
    sizes = draw(st.lists(st.sampled_from([0, 1, 2, 7, 20, 60, 140]), min_size=QUERIES, max_size=QUERIES))
    seed = draw(st.integers(0, 2**32 - 1))
    chance = np.random.default_rng(seed)
    # Crowding at one end of the papers makes queries overlap.
    span = draw(st.sampled_from([PAPERS, PAPERS // 2]))
    matches = [sorted(chance.choice(span, min(size, span), replace=False).tolist()) for size in sizes]
    one = st.tuples(st.integers(0, QUERIES - 1), st.sampled_from([False] * 7 + [True]))
    interests = draw(
        st.lists(st.lists(one, max_size=7, unique_by=lambda each: each[0]), min_size=READERS, max_size=READERS)
    )
    limits = draw(st.lists(st.integers(1, 20), min_size=READERS, max_size=READERS))
    whole = draw(st.lists(st.sampled_from([False, False, True]), min_size=READERS, max_size=READERS))
    return matches, interests, limits, whole, seed


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_the_choice_from_the_shortlist_is_the_choice_from_everything(
    world: tuple[list[list[int]], list[list[tuple[int, bool]]], list[int], list[bool], int],
) -> None:
    matches, interests, limited, asked, seed = world
    chance = np.random.default_rng(seed)
    upvotes = chance.choice([0, 0, 0, 3, 50], PAPERS).astype(np.int64)
    found = {
        query: (np.array(papers, np.int64), chance.choice(PLACES, len(papers)).astype(np.uint8))
        for query, papers in enumerate(matches)
    }
    start = np.concatenate(([0], np.cumsum([len(each) for each in matches]))).astype(np.int64)
    paper = np.concatenate([found[query][0] for query in range(QUERIES)]).astype(np.int32)
    lists = Lists.of(start, paper, np.concatenate([found[query][1] for query in range(QUERIES)]), upvotes)

    rows = [
        (reader, slot, query, muted)
        for reader, mine in enumerate(interests)
        for slot, (query, muted) in enumerate(mine)
    ]
    everything = Candidates(
        *(
            np.array([entry[at] for entry in _entries(rows, found)], kind)
            for at, kind in enumerate((np.int64, np.int64, np.int64, np.uint8, np.bool_))
        )
    )
    limits, whole = np.array(limited, np.int64), np.array(asked, np.bool_)
    taste = chance.choice([0, 128, 200], (READERS, PAPERS)).astype(np.uint8)
    taste[~whole] = 128

    def likeness(reader: NDArray[np.int64], paper: NDArray[np.int64]) -> NDArray[np.uint8]:
        liked: NDArray[np.uint8] = taste[reader, paper]
        return liked

    reader, slot, row = (np.array([each[at] for each in rows], np.int64) for at in range(3))
    short = shortlist(lists, reader, slot, row, np.array([each[3] for each in rows], np.bool_), limits, whole)
    expected = choose(everything, limits, upvotes, likeness)
    got = replace(choose(short.candidates, limits, upvotes, likeness), matched=short.matched)
    for name in ("start", "paper", "matched", "reason_start", "reason_paper", "reason_slot"):
        assert getattr(got, name).tolist() == getattr(expected, name).tolist(), name
    muted = np.zeros((READERS, PAPERS), np.bool_)
    muted[everything.reader[everything.muted], everything.paper[everything.muted]] = True
    assert (short.mutes(np.arange(PAPERS)) == muted).all()


def _entries(
    rows: list[tuple[int, int, int, bool]], found: dict[int, tuple[NDArray[np.int64], NDArray[np.uint8]]]
) -> list[tuple[int, int, int, int, bool]]:
    return [
        (reader, slot, paper, places, muted)
        for reader, slot, query, muted in rows
        for paper, places in zip(*(each.tolist() for each in found[query]), strict=True)
    ]


def test_a_reader_of_broad_interests_keeps_few_of_many() -> None:
    papers = np.tile(np.arange(500, dtype=np.int32), 2)
    papers[500:] += 500
    lists = Lists.of(np.array([0, 500, 1000]), papers, np.full(1000, Place.TITLE, np.uint8), np.zeros(1000, np.int64))
    two, none = np.array([0, 0]), np.zeros(2, np.bool_)
    short = shortlist(lists, two, np.array([0, 1]), np.array([0, 1]), none, np.array([12]))
    assert short.matched.tolist() == [1000]
    assert sorted(short.candidates.paper.tolist()) == [*range(6), *range(500, 506)]


def test_lists_one_after_the_other_are_as_those_made_at_once() -> None:
    start, paper = np.array([0, 2, 2, 5]), np.array([0, 70, 1, 2, 3], np.int32)
    places, upvotes = np.array([16, 8, 8, 16, 64], np.uint8), np.zeros(80, np.int64)
    whole = Lists.of(start, paper, places, upvotes)
    parts = Lists.of(start[:2], paper[:2], places[:2], upvotes).and_those(
        Lists.of(start[1:] - 2, paper[2:], places[2:], upvotes)
    )
    for name in ("start", "paper", "places", "best_paper", "best_places", "sets", "before"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist(), name
