"""What the workers did and how long it took them, and what came of it day by day."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base


class TaskRun(Base):
    """One run of one task. Kept for days (PAPERROUND_KEEP_TASK_RUNS_DAYS): a figure to watch, not a record."""

    __tablename__ = "task_run"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task: Mapped[str]
    finished_at: Mapped[datetime]
    seconds: Mapped[float] = mapped_column(REAL)
    error: Mapped[str | None]
    """The class of the exception that ended it; null where it came to its end."""

    __table_args__ = (Index("ix_task_run_task", "task", "finished_at"),)


class DayFigures(Base):
    """What one day (UTC) came to, written once it is over: it outlives the rows it was counted from."""

    __tablename__ = "day_figures"

    day: Mapped[date] = mapped_column(primary_key=True)
    papers: Mapped[int]
    """In the editions cut that day."""
    sent: Mapped[int]
    """Digests; as the next."""
    failed: Mapped[int]
    bounced: Mapped[int]
    """Hard and soft."""
    complaints: Mapped[int]
    joined: Mapped[int]
    """Confirmed, entered by the operator, or come back."""
    left: Mapped[int]
    """Unsubscribed."""
    active: Mapped[int | None]
    """Readers when the day was counted; null where that was not the day after."""
