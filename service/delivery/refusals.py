"""Telling a bad address from a bad relay: refusals wait until the relay has shown that it accepts somebody. Pure."""

from __future__ import annotations

from service.delivery.results import Deferred, Rejected

STREAK_LIMIT = 20
"""Refusals in a row, nobody accepted between, after which it is the relay that refuses, not the addresses. Even where a
third of all addresses are dead, an honest relay comes to this once in three thousand million streaks."""


class Refusals:
    """The refusals of one run since the last acceptance.

    A relay that lost its configuration answers ``550 5.1.1`` to every address. Were each answer believed at once, a
    whole readership would be suppressed within a minute.
    """

    def __init__(self) -> None:
        self._held: list[Deferred | Rejected] = []
        self._streak = 0

    def add(self, refusal: Deferred | Rejected) -> bool:
        """Hold a refusal; whether the relay now counts as refusing everybody."""
        self._held.append(refusal)
        self._streak += 1
        return self._streak >= STREAK_LIMIT

    def accepted(self) -> list[Deferred | Rejected]:
        """Somebody was accepted: the refusals held are what they seem, and are handed out."""
        self._streak = 0
        return self.release()

    def release(self) -> list[Deferred | Rejected]:
        """Hand out what is held, the streak going on."""
        held, self._held = self._held, []
        return held
