"""What every task stands on: the settings and this worker process's own database, and a log line around each run."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import structlog
from celery import Task as CeleryTask

from service.database import Database
from service.readiness import open_ready
from workers.app import settings

log = structlog.get_logger("workers")


@cache
def database() -> Database:
    """Opened at the first task, so after the fork: a connection must never be shared between two processes."""
    return open_ready(settings, own=False)


class LoggedTask(CeleryTask):  # type: ignore[misc]  # Celery publishes no types
    """Binds the task's name and id to every log line of its run and tells how long it took."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id):
            try:
                result = super().__call__(*args, **kwargs)
            except Exception as error:
                log.error("task.failed", error=type(error).__name__, seconds=round(time.monotonic() - started, 3))
                raise
            log.debug("task.done", seconds=round(time.monotonic() - started, 3))
            return result
