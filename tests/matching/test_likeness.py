from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.matching import likeness
from service.matching.likeness import Background, Liking
from service.matching.rank import NEUTRAL

TEXTS = [(title, "") for title in ("fish swim", "birds fly", "fish sleep", "birds sing", "stones")]


def test_what_is_like_the_liked_rises_and_what_is_like_the_disliked_sinks_by_less() -> None:
    background = Background.of(TEXTS)
    vectors = background.vectors(TEXTS)
    owner, liked = np.array([0, 0, 1]), np.array([True, False, True])
    taste = likeness.profile(vectors[[0, 1, 1]], owner, liked, 2)
    levels = Liking(np.array([3, 5]), taste, vectors)(np.array([3, 3, 3, 4, 5, 5]), np.array([2, 3, 4, 2, 2, 3]))
    fish, birds, stones, of_nobody, fish_for_other, birds_for_other = levels.tolist()
    assert birds < stones == NEUTRAL < fish
    assert NEUTRAL - birds < fish - NEUTRAL
    assert of_nobody == NEUTRAL == fish_for_other < birds_for_other


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=600, unique=True), st.integers(0, 600))
def test_blocks_of_readers_are_told_the_same_as_all_at_once(known: list[int], begin: int) -> None:
    vectors = Background.of(TEXTS).vectors(TEXTS)
    readers = np.array(sorted(known), np.int64)
    liking = Liking(readers, vectors[readers % 5], vectors)
    asked = np.repeat(np.arange(601), 5)
    papers = np.tile(np.arange(5), 601)
    whole = liking(asked, papers)
    assert all(whole[asked == each].tolist() == [NEUTRAL] * 5 for each in range(601) if each not in known)
    later = asked >= begin
    part = liking.beginning_at(begin)(asked[later] - begin, papers[later])
    assert part.tolist() == whole[later].tolist()
