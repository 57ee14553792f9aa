"""How long to wait for a host: what it asks for, else doubling, spread so that crowds part. Pure but for the dice."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 24 * 3600.0
"""Seconds; a host that asks for more is asked again after a day."""
_FIRST: Final = 60.0
_LONGEST_BACKOFF: Final = 3600.0


def retry_after(written: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110, 10.2.3: seconds or a date); None where it says neither."""
    if written is None:
        return None
    written = written.strip()
    if written.isascii() and written.isdigit():
        return min(float(written[:9]), LONGEST)
    try:
        until = parsedate_to_datetime(written)
    except (ValueError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST)


def between_tries(attempt: int, first: float) -> float:
    """Seconds before the next of a few tries in a row; ``attempt`` counts from 1."""
    return first * (1 << (attempt - 1)) * _spread()


def after_failures(failures: int) -> float:
    """Seconds to leave a host alone that failed this many times in a row: a minute and doubling, an hour at most."""
    return min(_FIRST * (1 << min(failures - 1, 10)), _LONGEST_BACKOFF) * _spread()


def _spread() -> float:
    return random.uniform(0.7, 1.3)  # noqa: S311 (parts crowds, guards nothing)
