"""A clock that jumps to and fro over a change of daylight saving time, and two planners at once."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from service.database import Database
from service.database.tables import Delivery, Digest
from service.digests import plan
from service.settings import Settings
from service.subscribers.accounts import Preferences
from tests import factories

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")


@pytest.mark.parametrize(
    "change",
    [datetime(2026, 10, 25, 1, 0, tzinfo=UTC), datetime(2027, 3, 28, 1, 0, tzinfo=UTC)],
    ids=["an hour twice", "an hour never"],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_jumping_clock_sends_no_paper_twice_and_none_never(
    database: Database, settings: Settings, change: datetime, seed: int
) -> None:
    draw = random.Random(seed)
    start = change - timedelta(days=2)
    readers = {
        factories.reader(
            database, settings, queries=["robots"], now=start, preferences=Preferences(timezone=zone, hour=hour)
        ): zone
        for zone in ZONES
        for hour in (2, 23)
    }
    moment, papers = start, 0
    for _ in range(16):
        if draw.random() < 0.5:
            papers += 1
            factories.edition(database, factories.record(f"Robots {papers}"), now=moment)
        # Forward by some hours, and now and then back by one or two, as a clock that is set does.
        moment += timedelta(hours=draw.choice([1, 3, 6, 9, -1, -2]))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: plan.plan_due(database, settings, now=moment), range(2)))  # noqa: B023
    plan.plan_due(database, settings, now=moment + timedelta(days=3))
    with database.transaction() as session:
        digests = session.scalars(select(Digest)).all()
        deliveries = Counter(session.scalars(select(Delivery.digest_id)))
    assert set(deliveries.values()) == {1}
    assert len(deliveries) == len(digests)
    for reader, zone in readers.items():
        mine = [digest for digest in digests if digest.reader_id == reader]
        got = Counter(paper for digest in mine for paper in digest.paper_ids)
        assert got == Counter(range(1, papers + 1)), f"each paper once, {zone}"
        days = Counter(digest.slot.astimezone(ZoneInfo(zone)).date() for digest in mine)
        assert max(days.values()) == 1, f"one digest a day, {zone}"
