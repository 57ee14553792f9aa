"""Today's round as one picture: papers in, matched, planned, sent, bounced. A day is one of UTC.

The words are those of the measures: deliveries that are *open* (queued, deferred, sending) and *settled* (sent, failed,
cancelled, uncertain), editions, returns. All figures speak of digests, not of transactional mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import text

from service.database import Database
from service.database.tables import DeliveryState
from service.overview.reading import reading

_LATELY: Final = timedelta(minutes=5)

# Reads pk_edition from its end: some dozens of rows a day.
EDITIONS = text("SELECT count(*), coalesce(sum(paper_count), 0), max(id) FROM edition WHERE cut_at >= :since")
# Reads ix_paper_unedited.
UNEDITED = text("SELECT count(*) FROM paper WHERE edition_id IS NULL")
# Both read a primary key alone.
MATCHED = text("SELECT count(*) FROM match WHERE edition_id = :edition")
QUERIES = text("SELECT count(*) FROM query")
# Reads ix_reader_due.
READERS_DUE = text("SELECT count(*) FROM reader WHERE state = 'active' AND next_digest_at <= :now")
# Reads ix_delivery_due, ix_delivery_leased.
OPEN = text("""
    SELECT state, count(*), count(*) FILTER (WHERE due_at <= :now) FROM delivery
    WHERE state IN ('queued', 'deferred') AND kind = 'digest' GROUP BY state
    UNION ALL
    SELECT 'sending', count(*), count(*) FROM delivery WHERE state = 'sending' AND kind = 'digest'
""")
# Reads nothing but ix_delivery_settled, of one day.
SETTLED = text("""
    SELECT state, count(*), count(*) FILTER (WHERE settled_at >= :lately) FROM delivery
    WHERE settled_at >= :since AND kind = 'digest' GROUP BY state
""")
# Reads ix_return_event_kind.
BOUNCED = text("""
    SELECT kind, count(*) FROM return_event
    WHERE kind IN ('hard bounce', 'soft bounce', 'complaint') AND at >= :since GROUP BY kind
""")


@dataclass(frozen=True, slots=True)
class Today:
    """The round of a day so far."""

    day: date
    at: datetime
    papers: int
    """In the editions cut today."""
    editions: int
    unedited: int
    """Papers that came and are in no edition yet."""
    matched: int
    """Queries that were run over the newest edition of today,"""
    queries: int
    """of all there are."""
    readers_due: int
    """Their hour has come, and they are not planned yet."""
    open: int
    """Digests queued, deferred or being sent."""
    due: int
    """Of these, those that could leave now."""
    deferred: int
    sent: int
    failed: int
    cancelled: int
    uncertain: int
    sent_lately: int
    """In the last five minutes."""
    hard_bounces: int
    soft_bounces: int
    complaints: int

    @property
    def planned(self) -> int:
        """Digests that were to go out today: settled today, or open."""
        return self.open + self.settled

    @property
    def settled(self) -> int:
        return self.sent + self.failed + self.cancelled + self.uncertain

    @property
    def bounced(self) -> int:
        return self.hard_bounces + self.soft_bounces

    @property
    def minutes_left(self) -> int | None:
        """At the pace of the last five minutes; None where nothing is due, or nothing moves."""
        if not self.due or not self.sent_lately:
            return None
        return max(1, round(self.due * _LATELY.total_seconds() / 60 / self.sent_lately))


def today(database: Database, *, now: datetime | None = None) -> Today:
    """The picture of this moment. Bounded by what one day holds: well under a second with a million deliveries."""
    moment = now or datetime.now(UTC)
    values = {"now": moment, "since": datetime.combine(moment.date(), time(), UTC), "lately": moment - _LATELY}
    with reading(database) as connection:
        editions, papers, newest = connection.execute(EDITIONS, values).one()
        unedited: int = connection.scalar(UNEDITED) or 0
        matched: int = connection.scalar(MATCHED, {"edition": newest}) or 0
        queries: int = connection.scalar(QUERIES) or 0
        readers_due: int = connection.scalar(READERS_DUE, values) or 0
        waiting: dict[str, tuple[int, int]] = {
            state: (number, due) for state, number, due in connection.execute(OPEN, values)
        }
        settled: dict[str, tuple[int, int]] = {
            state: (number, lately) for state, number, lately in connection.execute(SETTLED, values)
        }
        came: dict[str, int] = dict(connection.execute(BOUNCED, values).all())

    def of(state: DeliveryState) -> int:
        return settled.get(state, (0, 0))[0]

    return Today(
        day=moment.date(),
        at=moment,
        papers=papers,
        editions=editions,
        unedited=unedited,
        matched=matched,
        queries=queries,
        readers_due=readers_due,
        open=sum(number for number, _ in waiting.values()),
        due=sum(due for _, due in waiting.values()),
        deferred=waiting.get(DeliveryState.DEFERRED, (0, 0))[0],
        sent=of(DeliveryState.SENT),
        failed=of(DeliveryState.FAILED),
        cancelled=of(DeliveryState.CANCELLED),
        uncertain=of(DeliveryState.UNCERTAIN),
        sent_lately=settled.get(DeliveryState.SENT, (0, 0))[1],
        hard_bounces=came.get("hard bounce", 0),
        soft_bounces=came.get("soft bounce", 0),
        complaints=came.get("complaint", 0),
    )
