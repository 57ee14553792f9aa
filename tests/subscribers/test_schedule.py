from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.subscribers.schedule import EVERY_DAY, ScheduleError, next_slot, timezones

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia",
    "Africa/Casablanca", "America/Sao_Paulo", "Asia/Tehran", "Pacific/Chatham", "America/Havana", "Asia/Beirut",
]  # fmt: skip
BEGINNING = datetime(2009, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 28 * 365 * 24 * 60).map(lambda minutes: BEGINNING + timedelta(minutes=minutes))


@settings(max_examples=300, deadline=None)
@given(MOMENTS, st.sampled_from(ZONES), st.integers(0, 23), st.integers(1, EVERY_DAY))
def test_the_next_slot_is_later_on_a_chosen_day_at_the_hour(
    after: datetime, timezone: str, hour: int, weekdays: int
) -> None:
    slot = next_slot(after, timezone=timezone, hour=hour, weekdays=weekdays)
    local = slot.astimezone(ZoneInfo(timezone))
    assert slot > after
    assert weekdays >> local.weekday() & 1
    wanted = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    exists = wanted.astimezone(UTC).astimezone(ZoneInfo(timezone)).replace(tzinfo=None) == wanted.replace(tzinfo=None)
    if exists:
        assert slot == wanted.astimezone(UTC)
    else:
        assert local.replace(tzinfo=None) > wanted.replace(tzinfo=None), "first moment after the gap"
        assert local - wanted.replace(tzinfo=local.tzinfo) <= timedelta(hours=1)


@settings(max_examples=40, deadline=None)
@given(MOMENTS, st.sampled_from(ZONES), st.integers(0, 23))
def test_every_local_day_has_exactly_one_slot_through_a_year(start: datetime, timezone: str, hour: int) -> None:
    zone = ZoneInfo(timezone)
    slot, days = start, []
    for _ in range(380):
        slot = next_slot(slot, timezone=timezone, hour=hour, weekdays=EVERY_DAY)
        days.append(slot.astimezone(zone).date())
    missing = {days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days + 1)} - set(days)
    assert len(days) == len(set(days))
    # A day may be missing only where the zone itself had no such day, as Samoa on 30 December 2011.
    for day in missing:
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)
        assert noon.astimezone(UTC).astimezone(zone).date() != day


@pytest.mark.parametrize(
    ("after", "timezone", "hour", "expected"),
    [
        # Berlin jumps from 2 to 3 on 29 March 2026: half past one UTC+1 is followed by the jump at 1:00 UTC.
        ("2026-03-28T12:00Z", "Europe/Berlin", 2, "2026-03-29T01:00Z"),
        # On 25 October 2026 two o'clock comes twice: the first one, still summer time.
        ("2026-10-24T12:00Z", "Europe/Berlin", 2, "2026-10-25T00:00Z"),
        ("2026-10-25T00:00Z", "Europe/Berlin", 2, "2026-10-26T01:00Z"),
        # Lord Howe moves by half an hour.
        ("2026-10-03T12:00Z", "Australia/Lord_Howe", 2, "2026-10-03T15:30Z"),
        ("2026-11-24T07:00Z", "UTC", 7, "2026-11-25T07:00Z"),
    ],
)
def test_clock_changes(after: str, timezone: str, hour: int, expected: str) -> None:
    slot = next_slot(datetime.fromisoformat(after), timezone=timezone, hour=hour, weekdays=EVERY_DAY)
    assert slot == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("timezone", "hour", "weekdays", "said"),
    [
        ("Mars/Olympus", 7, 1, "not a time zone"),
        ("", 7, 1, "not a time zone"),
        ("../etc/passwd", 7, 1, "not a time zone"),
        ("UTC", 24, 1, "not an hour"),
        ("UTC", 7, 0, "no weekday"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(timezone: str, hour: int, weekdays: int, said: str) -> None:
    with pytest.raises(ScheduleError, match=said):
        next_slot(datetime(2026, 1, 1, tzinfo=UTC), timezone=timezone, hour=hour, weekdays=weekdays)


def test_readers_choose_among_places() -> None:
    assert "Europe/Berlin" in timezones()
    assert not any(name.startswith("Etc/") for name in timezones())
