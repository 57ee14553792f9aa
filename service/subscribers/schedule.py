"""When a reader's next digest is due. Pure; the IANA data comes with Python or the package tzdata."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

from service.translation import gettext as _

EVERY_DAY = 0b1111111


class ScheduleError(Exception):
    """A schedule that cannot be. One line: the thing and the remedy."""


@lru_cache(maxsize=1)
def timezones() -> frozenset[str]:
    """The names a reader may choose: areas with a place, and UTC."""
    return frozenset(name for name in available_timezones() if "/" in name and not name.startswith("Etc/")) | {"UTC"}


@lru_cache(maxsize=1)
def listed() -> tuple[str, ...]:
    """Of the names a reader may choose, those that a list offers, sorted: one or more for each country, not their older
    names. All of them where the IANA table of countries is not there."""
    known = timezones()
    for folder in (*map(Path, TZPATH), Path(str(files("tzdata"))) / "zoneinfo"):
        try:
            table = (folder / "zone.tab").read_text(encoding="utf-8")
        except OSError:
            continue
        names = {line.split("\t")[2] for line in table.splitlines() if line and not line.startswith("#")}
        return tuple(sorted({name for name in names if name in known} | {"UTC"}))
    return tuple(sorted(known))


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises :class:`ScheduleError`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ScheduleError(
            _("“%(name)s” is not a time zone: use an IANA name such as Europe/Berlin or UTC", name=name[:64])
        ) from None


def check(timezone: str, hour: int, weekdays: int) -> None:
    """Refuse a schedule that never comes. Raises :class:`ScheduleError`."""
    zone(timezone)
    if not 0 <= hour <= 23:
        raise ScheduleError(_("%(hour)s is not an hour of the day: choose 0 to 23", hour=hour))
    if not 1 <= weekdays <= EVERY_DAY:
        raise ScheduleError(_("no weekday is chosen: choose at least one, or unsubscribe"))


def only_first(weekdays: int) -> int:
    """The first of the chosen weekdays alone."""
    return weekdays & -weekdays


def beginning_of(day: date, timezone: str) -> datetime:
    """The first moment of a day in a zone, in UTC. Raises :class:`ScheduleError`."""
    begins = _slot_on(day, zone(timezone), 0)
    if begins is None:
        raise ScheduleError(
            _("%(day)s is no day in %(timezone)s: choose another", day=day.isoformat(), timezone=timezone)
        )
    return begins


@lru_cache(maxsize=65_536)
def next_slot(after: datetime, *, timezone: str, hour: int, weekdays: int) -> datetime:
    """The first slot strictly after ``after`` (aware), in UTC.

    A slot is ``hour`` o'clock local time on a chosen weekday (bit 0 is Monday): one slot each such day. Where clocks
    jump over that hour it is the first moment after the jump; where the hour comes twice it is the first of the two.
    """
    check(timezone, hour, weekdays)
    local = zone(timezone)
    day = after.astimezone(local).date() - timedelta(days=1)
    # A year holds every weekday; a day that a zone skipped altogether (Samoa, 2011) has no slot.
    for _day in range(370):
        if weekdays >> day.weekday() & 1:
            slot = _slot_on(day, local, hour)
            if slot is not None and slot > after:
                return slot
        day += timedelta(days=1)
    raise ScheduleError("no slot within a year")


def _slot_on(day: date, local: ZoneInfo, hour: int) -> datetime | None:
    wanted = datetime.combine(day, time(hour), tzinfo=local)
    moment = wanted.astimezone(UTC)
    if moment.astimezone(local).replace(tzinfo=None) == wanted.replace(tzinfo=None):
        return moment
    # In a gap. With fold=0 the offset before the jump was used, so the moment lies after it by as much as the wanted
    # time lies inside the gap; walk back to the jump itself.
    end = _end_of_gap(moment, local)
    return end if end.astimezone(local).date() == day else None


def _end_of_gap(after_jump: datetime, local: ZoneInfo) -> datetime:
    """The jump at or shortly before ``after_jump``, to the minute, by halving the interval."""
    offset = after_jump.astimezone(local).utcoffset()
    low, high = after_jump - timedelta(days=2), after_jump
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) / 2
        middle = middle.replace(second=0, microsecond=0)
        if middle <= low:
            break
        if middle.astimezone(local).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high
