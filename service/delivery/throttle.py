"""Rate limits that hold for all workers together: never more than so many messages in any period of that length.

Relays count messages by the second and by the day, and large receivers by the minute. A period is cut into
:data:`BUCKETS` parts; what was let through in the parts that the last period touches is counted, a little too much at
its far end, so that a limit errs on the safe side, by at most a twentieth. The counts live in Redis, changed by one
script and by its clock; in one process, or while Redis does not answer, in memory.

What a limit holds back is *booked*: given the time when its turn comes behind all that was held back before, so that a
long queue is not looked at again and again.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

BUCKETS: Final = 20
REDIS_SECONDS: Final = 2.0
"""How long Redis is waited for; sending does not hang on it."""

_PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` messages in any ``seconds``."""

    count: int
    seconds: int

    @property
    def interval(self) -> float:
        """Seconds between two messages of an even flow."""
        # The part of the period that is counted twice over makes the flow this much slower.
        return self.seconds * (1 + 1 / BUCKETS) / self.count

    def __str__(self) -> str:
        name = next(name for name, seconds in _PERIODS.items() if seconds == self.seconds)
        return f"{self.count}/{name}"


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate and whose it is."""

    name: str
    rate: Rate

    @property
    def key(self) -> str:
        return f"{self.name}:{self.rate.seconds}"


@dataclass(frozen=True, slots=True)
class Grant:
    """How many may go now, and if not all, which limit held the rest back."""

    count: int
    held_by: Limit | None = None
    wait: float = 0.0
    """Seconds until that limit lets another one through."""


class RateError(ValueError):
    """A rate that cannot be read. One line."""


def rate(text: str) -> Rate:
    """Read ``14/second`` (or minute, hour, day). Raises :class:`RateError`."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise RateError(f"{text!r} is not a rate: write it like 14/second or 50000/day")
    return Rate(int(found[1]), _PERIODS[found[2]])


@dataclass(frozen=True, slots=True)
class DomainRates:
    """The limits by domain of the recipient."""

    named: tuple[tuple[str, Rate], ...] = ()
    others: Rate | None = None
    """For each domain without a rate of its own."""

    @classmethod
    def configured(cls, settings: Settings) -> DomainRates:
        """Read ``gmail.com=100/minute *=20/second``. Raises :class:`SettingsError`."""
        named: dict[str, Rate] = {}
        for word in settings.domain_rates.split():
            domain, mark, wish = word.partition("=")
            if not mark or not domain:
                raise SettingsError(
                    f"PAPERROUND_DOMAIN_RATES is not usable: {word!r} must look like gmail.com=100/minute"
                )
            try:
                named[domain.lower()] = rate(wish)
            except RateError as error:
                raise SettingsError(f"PAPERROUND_DOMAIN_RATES is not usable: {error}") from None
        others = named.pop("*", None)
        return cls(tuple(named.items()), others)

    def __bool__(self) -> bool:
        return bool(self.named) or self.others is not None

    def limit(self, recipient: str) -> Limit | None:
        domain = recipient.rpartition("@")[2].lower()
        found = next((each for name, each in self.named if name == domain), self.others)
        return Limit(f"domain:{domain}", found) if found is not None else None


class Counts(Protocol):
    """Where it is counted what went through."""

    async def take(self, limits: Sequence[Limit], wanted: int) -> Grant:
        """Count up to ``wanted`` messages against every one of ``limits``, all or none of them."""

    async def book(self, limit: Limit, held: int, wait: float) -> float:
        """Seconds from now until the first of ``held`` messages has its turn; the others follow at its interval."""

    async def close(self) -> None: ...


class LocalCounts:
    """Counts of this process, for all its threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._buckets: dict[str, dict[int, int]] = {}
        self._booked: dict[str, float] = {}
        self._lock = threading.Lock()

    async def take(self, limits: Sequence[Limit], wanted: int) -> Grant:
        with self._lock:
            now = self._clock()
            granted, held_by = wanted, None
            for limit in limits:
                counted = self._counted(limit, now)
                room = max(0, limit.rate.count - sum(counted.values()))
                if room < granted:
                    granted, held_by = room, limit
            for limit in limits if granted else ():
                bucket = _bucket(limit, now)
                counted = self._counted(limit, now)
                counted[bucket] = counted.get(bucket, 0) + granted
            return Grant(granted, held_by, self._wait(held_by, now) if held_by is not None else 0.0)

    async def book(self, limit: Limit, held: int, wait: float) -> float:
        with self._lock:
            now = self._clock()
            first = max(now + wait, self._booked.get(limit.key, 0.0))
            self._booked[limit.key] = first + held * limit.rate.interval
            return first - now

    async def close(self) -> None:
        """The counts stay: they are the process's."""

    def _counted(self, limit: Limit, now: float) -> dict[int, int]:
        counted = self._buckets.setdefault(limit.key, {})
        oldest = _bucket(limit, now) - BUCKETS
        for bucket in [each for each in counted if each < oldest]:
            del counted[bucket]
        return counted

    def _wait(self, limit: Limit, now: float) -> float:
        counted = self._counted(limit, now)
        part = limit.rate.seconds / BUCKETS
        return (min(counted) + BUCKETS + 1) * part - now if counted else part


def _bucket(limit: Limit, now: float) -> int:
    return math.floor(now * BUCKETS / limit.rate.seconds)


# KEYS: a hash a limit. ARGV: wanted, parts of a period, then count and seconds of each limit.
# Answers: granted, place of the limit that held the rest back (0: none), milliseconds until it lets one through.
_TAKE: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local wanted, parts = tonumber(ARGV[1]), tonumber(ARGV[2])
local granted, held, wait, current = wanted, 0, 0, {}
for place, key in ipairs(KEYS) do
  local count, part = tonumber(ARGV[2 * place + 1]), tonumber(ARGV[2 * place + 2]) / parts
  local bucket = math.floor(now / part)
  current[place] = bucket
  local used, oldest, entries = 0, bucket, redis.call('HGETALL', key)
  for at = 1, #entries, 2 do
    local each = tonumber(entries[at])
    if each < bucket - parts then
      redis.call('HDEL', key, entries[at])
    else
      used = used + tonumber(entries[at + 1])
      if each < oldest then oldest = each end
    end
  end
  local room = math.max(0, count - used)
  if room < granted then
    granted, held, wait = room, place, ((oldest + parts + 1) * part - now) * 1000
  end
end
if granted > 0 then
  for place, key in ipairs(KEYS) do
    redis.call('HINCRBY', key, current[place], granted)
    redis.call('PEXPIRE', key, math.ceil(tonumber(ARGV[2 * place + 2]) * 1100) + 1000)
  end
end
return {granted, held, math.ceil(wait)}
"""

# KEYS: the end of a limit's queue. ARGV: milliseconds until its head has its turn, and those that the queue grows by.
_BOOK: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local first = math.max(now + tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or 0))
redis.call('SET', KEYS[1], string.format('%.0f', first + tonumber(ARGV[2])),
           'PX', string.format('%.0f', first - now + tonumber(ARGV[2]) + 1000))
return string.format('%.0f', first - now)
"""


class SharedCounts:
    """Counts in Redis, for all workers. While it does not answer, each worker counts for itself. One event loop."""

    def __init__(self, url: str, fallback: Counts) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, decode_responses=True
        )
        self._take = self._redis.register_script(_TAKE)
        self._book = self._redis.register_script(_BOOK)
        self._fallback = fallback
        self._unheard_until = 0.0

    async def take(self, limits: Sequence[Limit], wanted: int) -> Grant:
        if self._heard:
            keys = [f"paperround:rate:{limit.key}" for limit in limits]
            arguments = [
                wanted,
                BUCKETS,
                *(each for limit in limits for each in (limit.rate.count, limit.rate.seconds)),
            ]
            try:
                granted, held, wait = await self._take(keys=keys, args=arguments)
                return Grant(int(granted), limits[held - 1] if held else None, int(wait) / 1000)
            except (RedisError, OSError) as error:
                self._unheard(error)
        return await self._fallback.take(limits, wanted)

    async def book(self, limit: Limit, held: int, wait: float) -> float:
        if self._heard:
            arguments = [math.ceil(wait * 1000), math.ceil(held * limit.rate.interval * 1000)]
            try:
                first = await self._book(keys=[f"paperround:booked:{limit.key}"], args=arguments)
                return int(first) / 1000
            except (RedisError, OSError) as error:
                self._unheard(error)
        return await self._fallback.book(limit, held, wait)

    async def close(self) -> None:
        await self._redis.aclose()

    @property
    def _heard(self) -> bool:
        return time.monotonic() >= self._unheard_until

    def _unheard(self, error: Exception) -> None:
        log.warning("throttle.counting_alone", error=type(error).__name__)
        self._unheard_until = time.monotonic() + 10


_OF_THIS_PROCESS: Final = LocalCounts()


def counts(settings: Settings) -> Counts:
    """Where this installation counts. To be closed in the event loop that used it."""
    url = settings.broker_url or ""
    if url.startswith(("redis://", "rediss://", "unix://")):
        return SharedCounts(url, _OF_THIS_PROCESS)
    return _OF_THIS_PROCESS
