"""Rows of the outbox and of what came back, as many as a test wants, at moments it names."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from service.database import Database


def deliveries(
    database: Database,
    state: str,
    count: int,
    *,
    kind: str = "digest",
    due: datetime | None = None,
    settled: datetime | None = None,
    lease: datetime | None = None,
    attempts: int = 1,
) -> None:
    priority = 5 if kind == "digest" else 0
    with database.connection() as connection:
        connection.execute(
            text("""
                INSERT INTO delivery (kind, priority, reader_id, message_id, state, attempts,
                    due_at, settled_at, lease_until, lease_owner)
                SELECT :kind, :priority, 1, 'invented', :state, :attempts,
                    coalesce(:due, now()), :settled, :lease, :owner FROM generate_series(1, :count)
            """),
            {"kind": kind, "priority": priority, "state": state, "attempts": attempts, "count": count, "due": due,
             "settled": settled, "lease": lease, "owner": lease and "lost"},
        )  # fmt: skip


def returns(database: Database, kind: str, count: int, at: datetime) -> None:
    with database.connection() as connection:
        connection.execute(
            text("""
                INSERT INTO return_event (key, kind, address_hash, source, at)
                SELECT decode(md5(random()::text), 'hex'), :kind, 'x', 'smtp', :at FROM generate_series(1, :count)
            """),
            {"kind": kind, "count": count, "at": at},
        )


def consents(database: Database, kind: str, count: int, at: datetime) -> None:
    with database.connection() as connection:
        connection.execute(
            text("""
                INSERT INTO consent_event (reader_id, address_hash, kind, wording, origin, at)
                SELECT 1, 'x', :kind, '', 'test', :at FROM generate_series(1, :count)
            """),
            {"kind": kind, "count": count, "at": at},
        )
