"""From what the transport reports to what becomes of each delivery. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from service.database.tables import DeliveryState
from service.delivery.refusals import Refusals
from service.delivery.results import Accepted, Deferred, Rejected, Result, Throttled, Uncertain, Unsent
from service.outbox import states
from service.outbox.claims import Claim, Outcome


class Decisions:
    """The deliveries one run has in hand, and the outcomes decided and not yet recorded."""

    def __init__(self, attempts_limit: int, clock: Callable[[], datetime]) -> None:
        self._attempts_limit = attempts_limit
        self._clock = clock
        self._random = random.Random()  # noqa: S311 (spreads retries, guards nothing)
        self._refusals = Refusals()
        self._undecided: dict[int, Claim] = {}
        self._on_wire: set[int] = set()
        self._outcomes: list[Outcome] = []
        self._bad_addresses: dict[int, str] = {}
        self.everyone_refused = False
        """The relay has refused so many in a row that it, not they, is to blame."""

    def begin(self, claims: Iterable[Claim]) -> None:
        self._undecided.update((claim.delivery_id, claim) for claim in claims)

    def hand_over(self, delivery_ids: Iterable[int]) -> None:
        """These go to the transport: until it reports, they may have arrived."""
        self._on_wire.update(delivery_ids)

    def lose(self, delivery_ids: Iterable[int]) -> None:
        """These are in somebody else's hands now."""
        for delivery_id in delivery_ids:
            self._undecided.pop(delivery_id, None)

    def decide(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            del self._undecided[outcome.delivery_id]
            self._outcomes.append(outcome)

    def take(self, result: Result) -> None:
        """Understand one result of the transport."""
        self._on_wire.discard(result.delivery_id)
        match result:
            case Accepted():
                self.decide([Outcome(result.delivery_id, DeliveryState.SENT, result.reply)])
                self._believe(self._refusals.accepted())
            case Uncertain():
                self.decide([Outcome(result.delivery_id, DeliveryState.UNCERTAIN, result.reply)])
            case Unsent():
                self.decide([Outcome(result.delivery_id, DeliveryState.QUEUED, result.reply)])
            case Throttled():
                turn = self._clock() + timedelta(seconds=result.seconds)
                self.decide([Outcome(result.delivery_id, DeliveryState.QUEUED, result.reply, turn)])
            case Deferred() | Rejected():
                if self._refusals.add(result):
                    self.everyone_refused = True
                    self._put_off(self._refusals.release())

    def finish(self, claims: Iterable[Claim]) -> None:
        """Decide what is open of ``claims``: refusals held back are believed, what was not attempted goes back.

        What the transport holds unreported may have arrived: only the end of its lease may give it back.
        """
        self._believe(self._refusals.release())
        left = {claim.delivery_id for claim in claims} & self._undecided.keys() - self._on_wire
        self.decide(Outcome(delivery_id, DeliveryState.QUEUED, "not attempted") for delivery_id in sorted(left))

    def drain(self) -> tuple[list[Outcome], dict[int, str]]:
        """The outcomes to be recorded now, and of those the bounces, hard or soft, with their codes."""
        outcomes, self._outcomes = self._outcomes, []
        bad_addresses, self._bad_addresses = self._bad_addresses, {}
        return outcomes, bad_addresses

    def _believe(self, refusals: Sequence[Deferred | Rejected]) -> None:
        """The message or its address is to blame."""
        self.decide([self._refused(refusal) for refusal in refusals])

    def _put_off(self, refusals: Sequence[Deferred | Rejected]) -> None:
        """The relay is to blame: the messages wait a little, no attempt counted."""
        self.decide(
            Outcome(each.delivery_id, DeliveryState.QUEUED, each.reply, self._retry_at(attempts=1)) for each in refusals
        )

    def _refused(self, refusal: Deferred | Rejected) -> Outcome:
        if isinstance(refusal, Rejected):
            if refusal.bad_address is not None:
                self._bad_addresses[refusal.delivery_id] = refusal.bad_address
            return Outcome(refusal.delivery_id, DeliveryState.FAILED, refusal.reply)
        claim = self._undecided[refusal.delivery_id]
        attempts = claim.attempts + 1
        retry_at = self._retry_at(attempts)
        if attempts >= self._attempts_limit or (claim.deadline is not None and retry_at > claim.deadline):
            tries = "1 try" if attempts == 1 else f"{attempts} tries"
            why = f"given up after {tries}: {refusal.reply}"
            return Outcome(refusal.delivery_id, DeliveryState.FAILED, why, carried_over=True)
        return Outcome(refusal.delivery_id, DeliveryState.DEFERRED, refusal.reply, retry_at)

    def _retry_at(self, attempts: int) -> datetime:
        return self._clock() + states.retry_after(attempts, self._random)
