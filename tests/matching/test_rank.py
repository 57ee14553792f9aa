from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.matching.rank import Candidates, choose, worth

ENTRY = st.tuples(
    st.integers(0, 4), st.integers(1, 9), st.integers(1, 5), st.sampled_from([0.2, 1.0, 5.0, 12.5]), st.booleans()
)


def candidates(entries: list[tuple[int, int, int, float, bool]]) -> Candidates:
    # One interest matches a paper once; a reader follows or mutes a query, not both.
    distinct: dict[tuple[int, int, int], tuple[float, bool]] = {}
    mutes: dict[tuple[int, int], bool] = {}
    for reader, paper, query, score, muted in entries:
        distinct.setdefault((reader, paper, query), (score, mutes.setdefault((reader, query), muted)))
    return Candidates(
        reader=np.array([key[0] for key in distinct], np.int64),
        paper=np.array([key[1] for key in distinct], np.int64),
        query=np.array([key[2] for key in distinct], np.int64),
        score=np.array([value[0] for value in distinct.values()], np.float32),
        muted=np.array([value[1] for value in distinct.values()], np.bool_),
    )


def model(given_entries: Candidates, limits: list[int]) -> list[tuple[list[int], int, list[tuple[int, int]]]]:
    """The same, one reader at a time, in plain Python."""
    results = []
    rows = list(zip(given_entries.reader, given_entries.paper, given_entries.query, given_entries.score,
                    given_entries.muted, strict=True))  # fmt: skip
    for reader, limit in enumerate(limits):
        muted = {int(paper) for r, paper, _, _, m in rows if r == reader and m}
        total: dict[int, float] = {}
        why: dict[int, list[tuple[float, int]]] = {}
        for r, paper, query, score, m in rows:
            if r == reader and not m and paper not in muted:
                value = float(worth(np.array([score], np.float32))[0])
                total[int(paper)] = total.get(int(paper), 0.0) + value
                why.setdefault(int(paper), []).append((-value, int(query)))
        ordered = sorted(total, key=lambda paper: (-round(total[paper], 12), paper))
        shown = ordered[:limit]
        reasons = [(place, query) for place, paper in enumerate(shown) for _, query in sorted(why[paper])]
        results.append((shown, len(ordered), reasons))
    return results


@settings(max_examples=300, deadline=None)
@given(st.lists(ENTRY, max_size=60), st.lists(st.integers(1, 4), min_size=5, max_size=5))
def test_all_readers_at_once_are_chosen_for_as_each_by_itself(
    entries: list[tuple[int, int, int, float, bool]], limits: list[int]
) -> None:
    given_entries = candidates(entries)
    chosen = choose(given_entries, np.array(limits, np.int64))
    for reader, (papers, matched, reasons) in enumerate(model(given_entries, limits)):
        assert chosen.paper[chosen.start[reader] : chosen.start[reader + 1]].tolist() == papers
        assert chosen.matched[reader] == matched
        span = slice(chosen.reason_start[reader], chosen.reason_start[reader + 1])
        got = list(zip(chosen.reason_paper[span].tolist(), chosen.reason_query[span].tolist(), strict=True))
        assert got == reasons


def test_two_interests_come_before_one_that_is_a_little_stronger() -> None:
    chosen = choose(candidates([(0, 1, 1, 6.0, False), (0, 2, 1, 5.0, False), (0, 2, 2, 5.0, False)]), np.array([5]))
    assert chosen.paper.tolist() == [2, 1]
