"""All relays as one transport: each gets its share, and takes over the share of one that is down.

A message goes to the relay whose turn it is by weight, unless that one is down, resting, or has reached a limit of its
own. What a relay left unsent when it went down goes to the others at once. A refusal counts only from a relay that has
lately accepted somebody: one that lost its configuration may refuse every address, so while it has not, another relay
is asked too. Only when no relay is left is the transport down.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from service.delivery import relay, throttle
from service.delivery.handshake import Timeouts
from service.delivery.pool import MESSAGES_PER_CONNECTION, SmtpTransport
from service.delivery.refusals import STREAK_LIMIT
from service.delivery.relay import Relay
from service.delivery.results import (
    Accepted,
    Deferred,
    Outgoing,
    Record,
    Rejected,
    RelayDown,
    Result,
    Throttled,
    Unsent,
)
from service.delivery.throttle import Counts, DomainRates, Grant, Limit
from service.settings import Settings

log = structlog.get_logger(__name__)

REST_SECONDS: Final = 60.0
"""A relay that was down or refused everybody is tried again after this long."""
PACE_SECONDS: Final = 1.5
"""A limit that opens again within this time is waited for; longer waits are spent in the queue, not on a lease."""


@dataclass(slots=True, eq=False)
class _Lane:
    """A relay and how it fares."""

    relay: Relay
    transport: SmtpTransport
    credit: int = 0
    resting_until: float = 0.0
    down: RelayDown | None = None
    streak: int = 0
    """Refusals since it last accepted somebody."""

    @property
    def usable(self) -> bool:
        return time.monotonic() >= self.resting_until

    @property
    def limits(self) -> list[Limit]:
        return [Limit(f"relay:{self.relay}", each) for each in self.relay.rates]

    def rest(self, why: RelayDown) -> None:
        self.down = why
        self.resting_until = time.monotonic() + REST_SECONDS


@dataclass(slots=True, eq=False)
class _Attempt:
    """A message under way, and the relays that have refused it."""

    message: Outgoing
    refused_by: list[_Lane] = field(default_factory=list)


@dataclass(slots=True)
class _Round:
    """What one look at relays and limits made of the messages at hand."""

    shares: dict[_Lane, list[_Attempt]] = field(default_factory=lambda: defaultdict(list))
    held: dict[Limit, list[_Attempt]] = field(default_factory=lambda: defaultdict(list))
    waits: dict[Limit, float] = field(default_factory=dict)


class Relays:
    """A transport over all relays of the settings. Use from one event loop; ``send`` may run several times at once."""

    def __init__(
        self,
        relays: Sequence[Relay],
        *,
        connections: int,
        mail_domain: str,
        counts: Counts,
        domain_rates: DomainRates | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._connections = connections
        self._mail_domain = mail_domain
        self._timeouts = timeouts
        self._counts = counts
        self._domain_rates = domain_rates or DomainRates()
        self._lanes = [_Lane(each, self._transport(each)) for each in relays]
        self._plain = len(self._lanes) == 1 and not self._domain_rates and not relays[0].rates

    @classmethod
    def configured(cls, settings: Settings, timeouts: Timeouts) -> Relays:
        """The relays and limits of the settings. Raises :class:`RelayDown` or :class:`SettingsError`."""
        return cls(
            relay.configured(settings),
            connections=settings.send_connections,
            mail_domain=settings.mail_domain,
            counts=throttle.counts(settings),
            domain_rates=DomainRates.configured(settings),
            timeouts=timeouts,
        )

    async def send(
        self, batch: Sequence[Outgoing], *, latest: float | None = None, record: Record | None = None
    ) -> AsyncGenerator[Result, None]:
        """Yield one result for each message as it becomes known; see ``results``.

        Raises :class:`RelayDown` after the last result when no relay could take more.
        """
        if self._plain:
            only = self._lanes[0].transport.send(batch, latest=latest, record=record)
            try:
                async for result in only:
                    yield result
            finally:
                await only.aclose()
            return
        attempts = [_Attempt(message) for message in batch]
        while attempts:
            if latest is not None and time.monotonic() > latest:
                for attempt in attempts:
                    yield Unsent(attempt.message.delivery_id, "its time for sending ran out")
                return
            lanes = await self._usable()
            if not lanes:
                why = "; ".join(str(lane.down) for lane in self._lanes)
                for attempt in attempts:
                    yield Unsent(attempt.message.delivery_id, why)
                raise RelayDown(why)
            planned = await self._planned(attempts, lanes)
            throttled, waiting, pause = await self._held_back(planned, latest)
            for result in throttled:
                yield result
            attempts = waiting.copy()
            sharing = self._sharing(planned.shares, latest, record, attempts)
            try:
                async for shared in sharing:
                    yield shared
            finally:
                await sharing.aclose()
            if len(attempts) == len(waiting) and waiting:
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """QUIT on every connection of every relay."""
        await asyncio.gather(*(lane.transport.close() for lane in self._lanes))
        await self._counts.close()

    # ---- who gets what -----------------------------------------------------------------------------------------------

    def _transport(self, target: Relay) -> SmtpTransport:
        return SmtpTransport(
            target,
            connections=target.connections or self._connections,
            mail_domain=self._mail_domain,
            timeouts=self._timeouts,
            messages_per_connection=target.messages_per_connection or MESSAGES_PER_CONNECTION,
        )

    async def _usable(self) -> list[_Lane]:
        """The relays that may be given mail now; one whose rest is over gets new connections."""
        found = []
        for lane in self._lanes:
            if not lane.usable:
                continue
            if lane.down is not None:
                tired = lane.transport
                lane.transport, lane.down, lane.streak = self._transport(lane.relay), None, 0
                await tired.close()
            found.append(lane)
        return found

    async def _planned(self, attempts: Sequence[_Attempt], lanes: Sequence[_Lane]) -> _Round:
        """Deal the messages out by weight, as far as the limits go."""
        planned = _Round()
        open_lanes, full = list(lanes), dict[Limit, float]()
        left = list(attempts)
        while left and open_lanes:
            groups: dict[tuple[_Lane, Limit | None], list[_Attempt]] = defaultdict(list)
            for attempt in left:
                lane = self._turn([each for each in open_lanes if each not in attempt.refused_by] or open_lanes)
                groups[lane, self._domain_rates.limit(attempt.message.recipient)].append(attempt)
            left = []
            for (lane, domain), group in groups.items():
                limits = [*lane.limits, *([domain] if domain is not None else [])]
                grant = await self._counts.take(limits, len(group)) if limits else Grant(len(group))
                planned.shares[lane] += group[: grant.count]
                if grant.held_by is None:
                    continue
                held = group[grant.count :]
                if grant.held_by is domain:
                    planned.held[domain] += held
                    planned.waits[domain] = grant.wait
                    continue
                # Another relay may have room.
                left += held
                full[grant.held_by] = grant.wait
                if lane in open_lanes:
                    open_lanes.remove(lane)
        if left:
            soonest = min(full, key=lambda limit: full[limit])
            planned.held[soonest] += left
            planned.waits[soonest] = full[soonest]
        return planned

    async def _held_back(self, planned: _Round, latest: float | None) -> tuple[list[Throttled], list[_Attempt], float]:
        """What goes back to the queue until its turn; what is soon let through, and the seconds until then."""
        throttled: list[Throttled] = []
        waiting: list[_Attempt] = []
        pause = 0.0
        for limit, held in planned.held.items():
            wait = planned.waits[limit]
            if wait <= PACE_SECONDS and (latest is None or time.monotonic() + wait < latest):
                pause = max(pause, wait)
                waiting += held
                continue
            first = await self._counts.book(limit, len(held), wait)
            throttled += (
                Throttled(
                    each.message.delivery_id,
                    f"held back by a limit ({limit.rate})",
                    first + place * limit.rate.interval,
                )
                for place, each in enumerate(held)
            )
        return throttled, waiting, pause

    @staticmethod
    def _turn(lanes: Sequence[_Lane]) -> _Lane:
        """Whose turn it is: smooth weighted round robin, so that shares hold over few messages too."""
        for lane in lanes:
            lane.credit += lane.relay.weight
        chosen = max(lanes, key=lambda lane: lane.credit)
        chosen.credit -= sum(lane.relay.weight for lane in lanes)
        return chosen

    # ---- sending -----------------------------------------------------------------------------------------------------

    async def _sharing(
        self,
        shares: dict[_Lane, list[_Attempt]],
        latest: float | None,
        record: Record | None,
        again: list[_Attempt],
    ) -> AsyncGenerator[Result, None]:
        """Send every share at once. What another relay is to try goes into ``again``."""
        reported: asyncio.Queue[list[Result] | None] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._share(lane, share, latest, record, reported, again))
            for lane, share in shares.items()
            if share
        ]
        try:
            for _ in tasks:
                while (results := await reported.get()) is not None:
                    for result in results:
                        yield result
            for task in tasks:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _share(
        self,
        lane: _Lane,
        share: Sequence[_Attempt],
        latest: float | None,
        record: Record | None,
        reported: asyncio.Queue[list[Result] | None],
        again: list[_Attempt],
    ) -> None:
        attempts = {attempt.message.delivery_id: attempt for attempt in share}
        unproven: list[Deferred | Rejected] = []
        unsent: list[Unsent] = []
        sending = lane.transport.send([attempt.message for attempt in share], latest=latest, record=record)
        try:
            async for result in sending:
                match result:
                    case Accepted():
                        lane.streak = 0
                        await reported.put([*unproven, result])
                        unproven.clear()
                    case Deferred() | Rejected() if len(self._lanes) > 1:
                        lane.streak += 1
                        unproven.append(result)
                    case Unsent():
                        unsent.append(result)
                    case _:
                        await reported.put([result])
        except RelayDown as error:
            log.warning("relay.down", relay=str(lane.relay), reason=str(error))
            lane.rest(error)
            again += [attempts[result.delivery_id] for result in unsent]
            unsent.clear()
        finally:
            await sending.aclose()
            if lane.streak >= STREAK_LIMIT and lane.down is None:
                why = RelayDown(f"the relay {lane.relay} refuses every message: look at its logs")
                log.warning("relay.refuses_everybody", relay=str(lane.relay))
                lane.rest(why)
            for refusal in unproven:
                attempt = attempts[refusal.delivery_id]
                attempt.refused_by.append(lane)
                if any(each.usable and each not in attempt.refused_by for each in self._lanes):
                    again.append(attempt)
                else:
                    await reported.put([refusal])
            await reported.put([*unsent])
            await reported.put(None)
