"""The pause of all sending while the relay takes nobody's mail: kept in the tables, so that all workers keep it.

The queue stands still, no reader's attempts are counted, and one try after each pause finds out whether the relay is
back. The pauses grow from a quarter of a minute to five minutes, spread, so that many workers do not come at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, text

from service.database import Database
from service.database.tables import SendingPause

FIRST: Final = timedelta(seconds=15)
LONGEST: Final = timedelta(minutes=5)

# Of several workers who find the relay down at once, the first to say so makes the pause; it is not made longer by all.
BEGIN = text("""
    INSERT INTO sending_pause AS pause (id, reason, since, until, tries) VALUES (1, :reason, :now, :now + :first, 1)
    ON CONFLICT (id) DO UPDATE SET
        reason = excluded.reason, tries = pause.tries + 1,
        until = :now + least(:first * 2 ^ least(pause.tries, 16), :longest) * :spread
    WHERE pause.until <= :now
""")


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is sent, and until when."""

    reason: str
    since: datetime
    until: datetime
    tries: int

    def over(self, now: datetime) -> bool:
        """Whether the relay is to be tried again."""
        return self.until <= now


def current(database: Database) -> Pause | None:
    """The pause that was begun and not ended; it may be over."""
    with database.transaction() as session:
        row = session.scalar(select(SendingPause))
    return Pause(row.reason, row.since, row.until, row.tries) if row is not None else None


def begin(database: Database, reason: str, *, now: datetime | None = None) -> None:
    """Nothing is to be sent for a while, each time a longer one. Repeated within the pause: nothing changes."""
    values = {
        "reason": reason,
        "now": now or datetime.now(UTC),
        "first": FIRST,
        "longest": LONGEST,
        "spread": random.uniform(0.5, 1.0),  # noqa: S311 (guards nothing)
    }
    with database.connection() as connection:
        connection.execute(BEGIN, values)


def end(database: Database) -> None:
    """The relay has taken somebody's mail."""
    with database.connection() as connection:
        connection.execute(delete(SendingPause))
