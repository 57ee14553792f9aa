"""The states of a delivery and the ways between them. Pure.

::

    queued ──► sending ──► sent
      ▲  ▲       │ │ │───► failed
      │  └───────┘ │ └───► uncertain ──► queued | failed (the setting decides)
      │ (released) ▼
      └─────── deferred            any waiting state ──► cancelled | failed (deadline)

``sent``, ``failed`` and ``cancelled`` are ends. SENT may be recorded even when the lease was lost meanwhile: what the
relay accepted is sent, whatever else was believed; so may an operator who asked the relay about an uncertain one.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from types import MappingProxyType
from typing import Final

from service.database.tables import DeliveryState as State

WAITING: Final = frozenset({State.QUEUED, State.DEFERRED})
"""To be claimed when due."""
ENDS: Final = frozenset({State.SENT, State.FAILED, State.CANCELLED})

TRANSITIONS: Final = MappingProxyType(
    {
        State.QUEUED: frozenset({State.SENDING, State.CANCELLED, State.FAILED}),
        State.SENDING: frozenset(
            {State.SENT, State.DEFERRED, State.FAILED, State.CANCELLED, State.UNCERTAIN, State.QUEUED}
        ),
        State.DEFERRED: frozenset({State.SENDING, State.CANCELLED, State.FAILED}),
        State.UNCERTAIN: frozenset({State.QUEUED, State.FAILED, State.CANCELLED, State.SENT}),
        State.SENT: frozenset[State](),
        State.FAILED: frozenset[State](),
        State.CANCELLED: frozenset[State](),
    }
)

FIRST_RETRY: Final = timedelta(minutes=2)
LONGEST_RETRY: Final = timedelta(hours=2)


def allowed(before: State, after: State) -> bool:
    """Whether a delivery may go from ``before`` to ``after``."""
    return after in TRANSITIONS[before]


def retry_after(attempts: int, random: Random) -> timedelta:
    """How long to wait after the ``attempts``-th try: doubling from two minutes to two hours, spread by a half.

    The spread keeps a crowd that was deferred together from coming back together. RFC 5321, 4.5.4.1, asks for 30
    minutes between tries in general; greylisting relays expect an earlier second one.
    """
    doublings = min(max(attempts, 1) - 1, 16)
    longest: timedelta = min(FIRST_RETRY * (1 << doublings), LONGEST_RETRY)
    return longest * random.uniform(0.5, 1.0)
