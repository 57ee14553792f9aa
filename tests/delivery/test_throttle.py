"""Rate limits: exact over any period, shared by all workers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from service.delivery import throttle
from service.delivery.throttle import DomainRates, Limit, LocalCounts, Rate, RateError, SharedCounts, rate
from service.settings import Settings, SettingsError

LIMIT = Limit("relay:a", Rate(10, 3600))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("14/second", Rate(14, 1)), ("100/minute", Rate(100, 60)), ("5/hour", Rate(5, 3600)), ("9/day", Rate(9, 86400))],
)
def test_rates_are_read_as_they_are_written(text: str, expected: Rate) -> None:
    assert rate(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "14", "0/second", "14/fortnight", "-1/day", "1.5/second", "14 /second"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(RateError, match="14/second"):
        rate(text)


def test_domain_rates_are_read_from_one_line(settings: Settings) -> None:
    line = "gmail.com=100/minute Yahoo.com=20/second *=5/second"
    rates = DomainRates.configured(settings.model_copy(update={"domain_rates": line}))
    assert rates.limit("a@gmail.com") == Limit("domain:gmail.com", Rate(100, 60))
    assert rates.limit("a@YAHOO.com") == Limit("domain:yahoo.com", Rate(20, 1))
    assert rates.limit("a@else.example") == Limit("domain:else.example", Rate(5, 1))
    assert DomainRates.configured(settings).limit("a@gmail.com") is None


@pytest.mark.parametrize("line", ["gmail.com", "gmail.com=", "=5/second", "gmail.com=fast"])
def test_domain_rates_that_cannot_be_read_name_the_setting(settings: Settings, line: str) -> None:
    with pytest.raises(SettingsError, match="PAPERROUND_DOMAIN_RATES"):
        DomainRates.configured(settings.model_copy(update={"domain_rates": line}))


@examples(max_examples=200, deadline=None)
@given(
    st.integers(1, 30),
    st.sampled_from([1, 60]),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 20)), min_size=1, max_size=40),
)
def test_no_period_ever_holds_more_than_its_limit(count: int, seconds: int, asked: list[tuple[float, int]]) -> None:
    now = 1_000.0
    counts = LocalCounts(lambda: now)
    limit = Limit("x", Rate(count, seconds))
    let_through: list[float] = []
    for pause, wanted in asked:
        now += pause * seconds / 20
        grant = asyncio.run(counts.take([limit], wanted))
        let_through += [now] * grant.count
        assert (grant.held_by is None) == (grant.count == wanted)
        if grant.count < wanted:
            assert 0 < grant.wait <= seconds * 1.1
            # Once the wait is over there is room again.
            now += grant.wait + 0.001
            later = asyncio.run(counts.take([limit], 1))
            assert later.count == 1
            let_through.append(now)
        assert all(sum(start <= each < start + seconds for each in let_through) <= count for start in let_through)


def test_several_limits_are_taken_from_all_or_none() -> None:
    async def run() -> None:
        counts = LocalCounts(lambda: 1_000.0)
        narrow = Limit("domain:a", Rate(3, 60))
        grant = await counts.take([LIMIT, narrow], 8)
        assert (grant.count, grant.held_by) == (3, narrow)
        assert (await counts.take([LIMIT], 20)).count == 7

    asyncio.run(run())


def test_redis_counts_as_this_process_does(redis_url: str) -> None:
    async def run() -> None:
        shared = SharedCounts(redis_url, Never())
        narrow = Limit("domain:a", Rate(3, 60))
        first = await shared.take([LIMIT, narrow], 8)
        assert (first.count, first.held_by) == (3, narrow)
        assert 55 < first.wait <= 66
        rest = await shared.take([LIMIT], 20)
        assert (rest.count, rest.held_by) == (7, LIMIT)
        assert (await shared.take([LIMIT], 1)).count == 0
        one = await shared.book(LIMIT, 5, 100.0)
        two = await shared.book(LIMIT, 5, 100.0)
        assert one == pytest.approx(100, abs=5)
        assert two - one == pytest.approx(5 * LIMIT.rate.interval, abs=5)
        await shared.close()

    asyncio.run(run())


class Never:
    """Counts that must not be asked."""

    async def take(self, *_: object) -> throttle.Grant:
        raise AssertionError

    async def book(self, *_: object) -> float:
        raise AssertionError

    async def close(self) -> None: ...


WORKER = """
import asyncio, json, sys
from service.delivery.throttle import Limit, LocalCounts, Rate, SharedCounts

async def run():
    counts = SharedCounts(sys.argv[1], LocalCounts())
    limit, taken = Limit("relay:a", Rate(500, 3600)), 0
    for _ in range(200):
        taken += (await counts.take([limit], 3)).count
    await counts.close()
    print(json.dumps(taken))

asyncio.run(run())
"""


def test_two_processes_share_one_limit(redis_url: str) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", WORKER, redis_url], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    taken = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert sum(taken) == 500


def test_while_redis_does_not_answer_a_worker_counts_for_itself() -> None:
    async def run() -> None:
        counts = SharedCounts("redis://127.0.0.1:9/0", LocalCounts())
        assert (await counts.take([LIMIT], 8)).count == 8
        assert (await counts.take([LIMIT], 8)).count == 2
        assert await counts.book(LIMIT, 1, 5.0) == pytest.approx(5, abs=1)
        await counts.close()

    asyncio.run(run())


def test_a_limit_survives_the_worker_that_used_it_up(redis_url: str) -> None:
    async def used(wanted: int) -> int:
        counts = SharedCounts(redis_url, Never())
        grant = await counts.take([LIMIT], wanted)
        await counts.close()
        return grant.count

    assert asyncio.run(used(10)) == 10
    assert asyncio.run(used(1)) == 0


def test_the_settings_say_where_it_is_counted(settings: Settings) -> None:
    assert isinstance(throttle.counts(settings.model_copy(update={"broker_url": "redis://h/0"})), SharedCounts)
    assert isinstance(throttle.counts(settings.model_copy(update={"broker_url": None})), LocalCounts)
