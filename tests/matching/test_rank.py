from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.matching.places import Place
from service.matching.rank import Candidates, choose, esteem

TITLE, ABSTRACT, TAG = Place.TITLE, Place.ABSTRACT, Place.TAG
DWELT = ABSTRACT | Place.DWELT_ON
PHRASE, AUTHOR, KEYWORDS = Place.PHRASE | Place.TITLE, Place.AUTHOR, Place.KEYWORDS

Entry = tuple[int, int, int, Place, bool]
"""Reader, slot, paper, places, muted."""
READERS, PAPERS = 5, 12
ENTRY = st.tuples(
    st.integers(0, READERS - 1),
    st.integers(0, 4),
    st.integers(0, PAPERS - 1),
    st.sampled_from([TITLE, ABSTRACT, TAG, PHRASE, AUTHOR, KEYWORDS, TITLE | ABSTRACT, TAG | ABSTRACT, DWELT]),
    st.sampled_from([False] * 9 + [True]),
)


def candidates(entries: list[Entry]) -> Candidates:
    # One interest matches a paper once; a reader follows or mutes a query, not both.
    distinct: dict[tuple[int, int, int], tuple[Place, bool]] = {}
    mutes: dict[tuple[int, int], bool] = {}
    for reader, slot, paper, places, muted in entries:
        distinct.setdefault((reader, slot, paper), (places, mutes.setdefault((reader, slot), muted)))
    return Candidates(
        reader=np.array([key[0] for key in distinct], np.int64),
        slot=np.array([key[1] for key in distinct], np.int64),
        paper=np.array([key[2] for key in distinct], np.int64),
        places=np.array([int(places) for places, _ in distinct.values()], np.uint8),
        muted=np.array([muted for _, muted in distinct.values()], np.bool_),
    )


def signals(places: Place) -> int:
    each_is_one = (Place.AUTHOR, Place.TITLE, Place.ABSTRACT, Place.KEYWORDS, Place.DWELT_ON)
    return sum(bool(places & each) for each in each_is_one)


def tier(places: list[Place]) -> int:
    if any(each & (Place.AUTHOR | Place.PHRASE) for each in places):
        return 2
    together = Place(0)
    for each in places:
        together |= each
    return 1 if len(places) > 1 or signals(together) > 1 else 0


def where(places: list[Place]) -> int:
    if any(each & (Place.TITLE | Place.AUTHOR) for each in places):
        return 2
    return 1 if any(each & (Place.ABSTRACT | Place.KEYWORDS | Place.ORGANIZATION) for each in places) else 0


def for_one(
    mine: list[tuple[int, int, Place, bool]], limit: int, upvotes: list[int], alike: list[int]
) -> tuple[list[int], int, list[tuple[int, int]]]:
    """The rules, for one reader, in plain Python."""
    muted = {paper for _, paper, _, mutes in mine if mutes}
    why: dict[int, dict[int, Place]] = defaultdict(dict)
    for slot, paper, places, mutes in mine:
        if not mutes and paper not in muted:
            why[paper][slot] = places

    def standing(paper: int) -> tuple[int, ...]:
        places = list(why[paper].values())
        votes = int(esteem(np.array([upvotes[paper]]))[0])
        return (-tier(places), -where(places), -len(places), -alike[paper], -votes, paper)

    ordered = sorted(why, key=standing)
    queues = {slot: [paper for paper in ordered if slot in why[paper]] for slot in range(5)}
    chosen: list[int] = []
    for helping in range(len(ordered)):
        turn = {queue[helping] for queue in queues.values() if helping < len(queue)}
        chosen += [paper for paper in sorted(turn, key=standing) if paper not in chosen]
    shown = sorted(chosen[:limit], key=standing)
    reasons = []
    for place, paper in enumerate(shown):
        strongest = sorted(why[paper].items(), key=lambda item: (-tier([item[1]]), -where([item[1]]), item[0]))
        reasons += [(place, slot) for slot, _ in strongest]
    return shown, len(ordered), reasons


@settings(max_examples=400, deadline=None)
@given(
    st.lists(ENTRY, max_size=120),
    st.lists(st.integers(1, 6), min_size=READERS, max_size=READERS),
    st.lists(st.integers(0, 500), min_size=PAPERS, max_size=PAPERS),
    st.lists(st.sampled_from([0, 128, 200]), min_size=READERS * PAPERS, max_size=READERS * PAPERS),
)
def test_all_readers_at_once_are_chosen_for_as_each_by_itself(
    entries: list[Entry], limits: list[int], upvotes: list[int], alike: list[int]
) -> None:
    given_entries = candidates(entries)
    table = np.array(alike, np.uint8).reshape(READERS, PAPERS)

    def likeness(reader: NDArray[np.int64], paper: NDArray[np.int64]) -> NDArray[np.uint8]:
        return table[reader, paper]

    chosen = choose(given_entries, np.array(limits, np.int64), np.array(upvotes, np.int64), likeness)
    rows = list(
        zip(given_entries.reader.tolist(), given_entries.slot.tolist(), given_entries.paper.tolist(),
            map(Place, given_entries.places.tolist()), given_entries.muted.tolist(), strict=True)
    )  # fmt: skip
    for reader, limit in enumerate(limits):
        mine = [row[1:] for row in rows if row[0] == reader]
        papers, matched, reasons = for_one(mine, limit, upvotes, table[reader].tolist())
        assert chosen.paper[chosen.start[reader] : chosen.start[reader + 1]].tolist() == papers
        assert chosen.matched[reader] == matched
        span = slice(chosen.reason_start[reader], chosen.reason_start[reader + 1])
        got = list(zip(chosen.reason_paper[span].tolist(), chosen.reason_slot[span].tolist(), strict=True))
        assert got == reasons


def order(entries: list[tuple[int, int, Place]], limit: int = 50, upvotes: dict[int, int] | None = None) -> list[int]:
    """One reader's papers; entries are (slot, paper, places)."""
    votes = np.array([(upvotes or {}).get(paper, 0) for paper in range(100)], np.int64)
    found = candidates([(0, slot, paper, places, False) for slot, paper, places in entries])
    return [int(paper) for paper in choose(found, np.array([limit]), votes).paper]


def test_an_author_or_a_phrase_in_the_title_comes_before_several_signals_and_those_before_one() -> None:
    entries = [(0, 1, TITLE), (0, 2, TITLE | ABSTRACT), (0, 3, AUTHOR), (0, 4, PHRASE), (1, 5, TAG), (2, 5, TAG)]
    assert order(entries) == [3, 4, 2, 5, 1]


def test_within_a_tier_the_title_comes_before_the_abstract_and_that_before_a_category_whatever_the_upvotes() -> None:
    assert order([(0, 1, TAG), (0, 2, ABSTRACT), (0, 3, TITLE)], upvotes={1: 999}) == [3, 2, 1]


def test_upvotes_decide_only_between_papers_that_are_alike_and_ids_only_where_nothing_else_does() -> None:
    assert order([(0, 1, TITLE), (0, 2, TITLE), (0, 3, TITLE)], upvotes={3: 40, 2: 4}) == [3, 2, 1]
    assert order([(0, 2, TITLE), (0, 1, TITLE)]) == [1, 2]


def test_a_broad_interest_does_not_crowd_out_a_narrow_one() -> None:
    broad = [(0, paper, TITLE | ABSTRACT) for paper in range(10, 40)]
    assert order([*broad, (1, 50, TAG), (2, 60, ABSTRACT)], limit=4, upvotes={30: 9, 31: 5}) == [30, 31, 60, 50]


def test_what_is_muted_is_out_however_telling() -> None:
    entries = [(0, 0, 1, AUTHOR, False), (0, 1, 1, TAG, True), (0, 0, 2, TAG, False), (1, 0, 1, TAG, False)]
    chosen = choose(candidates(entries), np.array([5, 5]), np.zeros(3, np.int64))
    assert chosen.paper.tolist() == [2, 1], "another reader's mute is another reader's"
    assert chosen.matched.tolist() == [1, 1]


def test_nothing_is_chosen_of_nothing() -> None:
    chosen = choose(candidates([]), np.array([5, 5]), np.zeros(0, np.int64))
    assert (chosen.start.tolist(), chosen.reason_start.tolist()) == ([0, 0, 0], [0, 0, 0])
