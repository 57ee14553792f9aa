"""What composing keeps from mail to mail: made once, used for a while."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """At most ``most`` values, each for ``seconds``; when it is full it starts anew. Safe for several threads.

    ``now`` is time.monotonic(), asked once by the caller for many look-ups.
    """

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._values: dict[Key, tuple[float, Value]] = {}
        """Until when, and what."""
        self._lock = threading.Lock()

    def get(self, key: Key, now: float) -> Value | None:
        found = self._values.get(key)
        return found[1] if found is not None and found[0] > now else None

    def keep(self, made: Mapping[Key, Value], now: float) -> None:
        """Two threads may make the same value, and either serves."""
        until = now + self._seconds
        with self._lock:
            if len(self._values) > self._most:
                self._values.clear()
            self._values.update((key, (until, value)) for key, value in made.items())
