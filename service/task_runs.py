"""The record of what tasks took: written by the one task base, read by ``service.measures``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert

from service.database import Database
from service.database.tables import TaskRun

KEPT_DAYS: Final = 2


def record(database: Database, task: str, seconds: float, error: str | None, *, now: datetime | None = None) -> None:
    """Note that a task ended now after ``seconds``; ``error`` is the class of what ended it, None if nothing did."""
    row = {"task": task, "finished_at": now or datetime.now(UTC), "seconds": seconds, "error": error}
    with database.connection() as connection:
        connection.execute(insert(TaskRun), row)


def prune(database: Database, *, days: int = KEPT_DAYS, now: datetime | None = None) -> int:
    """Drop runs older than ``days``; return how many."""
    before = (now or datetime.now(UTC)) - timedelta(days=days)
    with database.connection() as connection:
        return connection.execute(delete(TaskRun).where(TaskRun.finished_at < before)).rowcount
