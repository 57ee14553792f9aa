"""What the workers did, and how long it took them."""

from __future__ import annotations

from datetime import datetime

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
