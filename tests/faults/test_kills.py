"""The short form of ``make faults``: a few kills in one round of a few hundred readers."""

from __future__ import annotations

import random
import shutil

import pytest

from tests.faults import kills

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(280)]


def test_killed_at_random_moments_nobody_is_lost_and_no_heard_answer_repeated() -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not on this machine")
    seed = random.SystemRandom().randrange(10**6)
    (verdict,) = kills.run(kills=4, readers=400, seed=seed, per_round=4)
    told = f"seed {seed}: {verdict}"
    assert verdict.lost == verdict.unsettled == 0, told
    assert verdict.duplicates <= verdict.unheard, told
    assert verdict.inexcusable == verdict.other_ids == 0, told
