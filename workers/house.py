"""What every task stands on: the settings and this worker process's own database, and a log line around each run."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import structlog
from celery import Task as CeleryTask
from sqlalchemy.exc import SQLAlchemyError

from service import task_runs, tracing
from service.database import Database, DatabaseError
from service.doorbell import carried, described
from service.readiness import open_ready
from service.settings import SettingsError
from workers.app import settings

log = structlog.get_logger("workers")


@cache
def database() -> Database:
    """Opened at the first task, so after the fork: a connection must never be shared between two processes."""
    return open_ready(settings, own=False)


class LoggedTask(CeleryTask):  # type: ignore[misc]  # Celery publishes no types
    """Binds the task's name and id to every log line of its run, tells and records how long it took, and makes it a
    span of the trace that its message came with."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with tracing.span(
            f"process {self.name}",
            {**described(self.name, self.name.partition(".")[0]), "messaging.operation.type": "process"},
            kind=tracing.Kind.CONSUMER,
            within=carried(self.request),
        ):
            return self._told(*args, **kwargs)

    def _told(self, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id):
            try:
                result = super().__call__(*args, **kwargs)
            except Exception as error:
                seconds = round(time.monotonic() - started, 3)
                log.error("task.failed", error=type(error).__name__, seconds=seconds)
                _record(self.name, seconds, type(error).__name__)
                raise
            seconds = round(time.monotonic() - started, 3)
            log.debug("task.done", seconds=seconds)
            _record(self.name, seconds, None)
            return result


def _record(task: str, seconds: float, error: str | None) -> None:
    """Note the run for whoever watches. It is done, noted or not: a database that is away now costs a figure."""
    try:
        task_runs.record(database(), task, seconds, error)
    except (SQLAlchemyError, DatabaseError, SettingsError) as trouble:
        log.warning("task.unrecorded", error=type(trouble).__name__)
