"""What each day came to, for charts over months: counted once when the day is over, and kept.

A chart that counted deliveries would read ninety days of them; this reads ninety rows. It outlives deliveries that are
dropped. A day is one of UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from service.database import Database
from service.database.tables import DayFigures
from service.overview.reading import reading

KEPT_BACK: Final = 90
"""Days that a house that was never counted, or stood still, counts afterwards."""

# Reads ix_delivery_settled, ix_return_event_kind, ix_consent_event_at, of one day; the editions; ix_reader_due.
COUNT = text("""
    SELECT
        (SELECT coalesce(sum(paper_count), 0) FROM edition WHERE cut_at >= :start AND cut_at < :end) AS papers,
        settled.sent, settled.failed, came.bounced, came.complaints, people.joined, people.left
    FROM (
        SELECT count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state = 'failed') AS failed
        FROM delivery WHERE settled_at >= :start AND settled_at < :end AND kind = 'digest'
    ) AS settled, (
        SELECT count(*) FILTER (WHERE kind <> 'complaint') AS bounced,
            count(*) FILTER (WHERE kind = 'complaint') AS complaints
        FROM return_event
        WHERE kind IN ('hard bounce', 'soft bounce', 'complaint') AND at >= :start AND at < :end
    ) AS came, (
        SELECT count(*) FILTER (WHERE kind IN ('confirmed', 'entered', 'resumed')) AS joined,
            count(*) FILTER (WHERE kind = 'unsubscribed') AS left
        FROM consent_event WHERE at >= :start AND at < :end
    ) AS people
""")
ACTIVE = text("SELECT count(*) FROM reader WHERE state = 'active'")


@dataclass(frozen=True, slots=True)
class Day:
    """The figures of one day, as the table has them."""

    day: date
    papers: int
    sent: int
    failed: int
    bounced: int
    complaints: int
    joined: int
    left: int
    active: int | None
    """Readers, about midnight after it; None where that was not counted."""


def close(database: Database, *, now: datetime | None = None) -> int:
    """Count the days that are over and were not counted; how many. Each by itself: killed, the rest is counted by the
    next turn. Two at once count the same; the first writes."""
    today = (now or datetime.now(UTC)).date()
    with database.connection() as connection:
        oldest = today - timedelta(days=KEPT_BACK)
        known = set(connection.scalars(select(DayFigures.day).where(DayFigures.day >= oldest)))
    open_days = [day for n in range(1, KEPT_BACK + 1) if (day := today - timedelta(days=n)) not in known]
    for day in open_days:
        with database.connection() as connection:
            values = _counted(connection, day)
            active = connection.scalar(ACTIVE) if day == today - timedelta(days=1) else None
            row = {"day": day, **values, "active": active}
            connection.execute(insert(DayFigures).values(row).on_conflict_do_nothing())
    return len(open_days)


def last(database: Database, count: int, *, now: datetime | None = None) -> list[Day]:
    """The last days, oldest first, today so far at the end. Days that nobody counted are left out."""
    today = (now or datetime.now(UTC)).date()
    columns = (
        DayFigures.day,
        DayFigures.papers,
        DayFigures.sent,
        DayFigures.failed,
        DayFigures.bounced,
        DayFigures.complaints,
        DayFigures.joined,
        DayFigures.left,
        DayFigures.active,
    )
    oldest = today - timedelta(days=count - 1)
    statement = select(*columns).where(DayFigures.day >= oldest, DayFigures.day < today).order_by(DayFigures.day)
    with reading(database) as connection:
        days = [Day(*row) for row in connection.execute(statement)]
        days.append(Day(day=today, **_counted(connection, today), active=connection.scalar(ACTIVE)))
    return days


def _counted(connection: Connection, day: date) -> dict[str, int]:
    start = datetime.combine(day, time(), UTC)
    row = connection.execute(COUNT, {"start": start, "end": start + timedelta(days=1)}).one()
    return dict(row._mapping)
