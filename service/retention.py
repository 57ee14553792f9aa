"""What has served its time goes, by settings.

Settled deliveries and their digests go with their month, which is dropped whole when its last day is so long past: they
are kept for at least so many days, and a month more at most. What came before the months, and all else, goes a batch
at a time: each batch is a transaction of its own, and each finds its rows by an index, so that a table of a hundred
million rows is never locked or read whole. A crash between two batches: the next run goes on. Any number may run at
once.

What readers' consent rests on is kept for ever; only from where it came is made coarse: the last byte of an IPv4
address and the last ten of an IPv6 one, and the browser. What operators did goes by whole days, by a function of the
database that is all the workers may do to the log, and that writes down what it did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import TextClause, text

from service.database import Database, months
from service.settings import Settings

BATCH: Final = 5_000
MOST_BATCHES: Final = 200
"""In one run, of each kind: the rest waits for the next hour, so that other housekeeping is not kept waiting."""

# Of what was there before the months: the oldest of it need not wait for the newest. Reads ix_delivery_settled from its
# beginning. A digest goes with its delivery: slots so long past do not come again.
_DELIVERIES: Final = text("""
    WITH old AS MATERIALIZED (
        SELECT id FROM delivery
        WHERE settled_at < :before AND state IN ('sent', 'failed', 'cancelled') AND id < :end
        ORDER BY settled_at LIMIT :batch FOR UPDATE SKIP LOCKED
    ), letters AS (
        DELETE FROM letter USING old WHERE letter.delivery_id = old.id
    ), gone AS (
        DELETE FROM delivery USING old WHERE delivery.id = old.id AND delivery.id < :end RETURNING delivery.digest_id
    ), carried AS (
        DELETE FROM carried_over USING gone WHERE carried_over.digest_id = gone.digest_id
    ), digests AS (
        DELETE FROM digest USING gone WHERE digest.id = gone.digest_id AND digest.id < :end
    )
    SELECT count(*) FROM gone
""")
# Reads ix_consent_event_traced; what is coarse is not in it. The table's trigger lets nothing but this be changed.
_VISITS: Final = text("""
    WITH old AS MATERIALIZED (
        SELECT id FROM consent_event
        WHERE at < :before AND (user_agent IS NOT NULL OR masklen(ip) IN (32, 128))
        ORDER BY at LIMIT :batch FOR UPDATE SKIP LOCKED
    ), coarse AS (
        UPDATE consent_event SET user_agent = NULL,
            ip = set_masklen(ip::cidr, CASE family(ip) WHEN 4 THEN 24 ELSE 48 END)::inet
        FROM old WHERE consent_event.id = old.id RETURNING 1
    )
    SELECT count(*) FROM coarse
""")
# Few, and each long expired or revoked: its reader cannot use it any more, nor see it.
_TOKENS: Final = text("""
    WITH gone AS (
        DELETE FROM access_token WHERE least(expires_at, revoked_at) < :before RETURNING 1
    )
    SELECT count(*) FROM gone
""")
# Ended long ago: no cookie opens them any more.
_SESSIONS: Final = text("""
    WITH gone AS (
        DELETE FROM operator_session WHERE created_at < :before RETURNING 1
    )
    SELECT count(*) FROM gone
""")
# Reads ix_audit_event_at. One transaction: operators are few, and a day's lines hundreds.
_AUDIT: Final = text("SELECT shorten_audit_log(:before)")
_ENDED_KEPT: Final = timedelta(days=30)
"""Of tokens and sessions, after their end: somebody may ask where a browser was signed in."""


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """How many rows were touched."""

    months: int
    """Of deliveries and digests, dropped whole."""
    deliveries: int
    """Of before the months: dropped, their digests with them."""
    visits: int
    """Consent events made coarse."""
    tokens: int
    """Of the API, dropped."""
    sessions: int
    """Of operators, dropped."""
    acts: int
    """Lines of the audit log, dropped."""


def apply(database: Database, settings: Settings, *, now: datetime | None = None) -> RetentionReport:
    """Drop and coarsen what is older than the settings allow; nought days keeps a kind for ever."""
    moment = now or datetime.now(UTC)
    dropped, deliveries = _deliveries(database, moment, settings.keep_deliveries_days)
    return RetentionReport(
        months=dropped,
        deliveries=deliveries,
        visits=_in_batches(database, _VISITS, moment, settings.keep_visits_days),
        tokens=_once(database, _TOKENS, {"before": moment - _ENDED_KEPT}),
        sessions=_once(
            database,
            _SESSIONS,
            {"before": moment - _ENDED_KEPT - timedelta(hours=settings.operator_session_hours)},
        ),
        acts=_shorten_log(database, moment, settings.keep_audit_days),
    )


def _shorten_log(database: Database, now: datetime, days: int) -> int:
    """To the beginning of a day (UTC), so that it is written down once a day and not once an hour."""
    if not days:
        return 0
    before = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    return _once(database, _AUDIT, {"before": before})


def _deliveries(database: Database, now: datetime, days: int) -> tuple[int, int]:
    """How many months, and how many deliveries of before them."""
    if not days:
        return 0, 0
    before = now - timedelta(days=days)
    with database.connection() as connection:
        partitions = months.held(connection)
    dropped = deliveries = 0
    for each in partitions:
        if months.beginning(each.end) <= before and months.drop(database, each, before):
            dropped += 1
        elif each.before:
            deliveries += _in_batches(database, _DELIVERIES, now, days, end=months.first_id(each.end))
    return dropped, deliveries


def _in_batches(database: Database, statement: TextClause, now: datetime, days: int, **values: object) -> int:
    if not days:
        return 0
    touched = 0
    for _ in range(MOST_BATCHES):
        count = _once(database, statement, {"before": now - timedelta(days=days), "batch": BATCH, **values})
        touched += count
        if count < BATCH:
            break
    return touched


def _once(database: Database, statement: TextClause, values: dict[str, object]) -> int:
    with database.connection() as connection:
        return int(connection.scalar(statement, values) or 0)
