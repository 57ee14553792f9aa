"""Names of queues and tasks, and the bell that wakes a worker.

The database is the truth and the broker only a doorbell: a ring may be lost or heard twice. The sweep on the schedule
finds from the tables whatever a lost ring left behind, so a broker that is down costs seconds, never mail.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from enum import StrEnum
from functools import cache
from threading import local
from typing import Any, Final

import structlog
from celery import Celery
from celery.signals import after_task_publish, before_task_publish
from kombu.exceptions import OperationalError

from service import tracing
from service.settings import Settings

log = structlog.get_logger(__name__)


class Queue(StrEnum):
    """The broker's queues, one for each step of the round: a worker may serve some of them."""

    INGEST = "ingest"
    MATCH = "match"
    PLAN = "plan"
    SEND = "send"
    HOUSEKEEPING = "housekeeping"


class Task(StrEnum):
    """``<queue>.<what>``: a task's first word is the queue it waits in."""

    INGEST_ALL = "ingest.all"
    MATCH_NEW = "match.new"
    PLAN_DUE = "plan.due"
    SEND_DUE = "send.due"
    SWEEP_LEASES = "housekeeping.sweep_leases"
    PRUNE = "housekeeping.prune"
    READ_RETURNS = "housekeeping.read_returns"

    @property
    def queue(self) -> Queue:
        return Queue(self.value.partition(".")[0])


def broker_settings(settings: Settings) -> dict[str, object]:
    """Celery's broker configuration: Redis when named, else files in the data folder (folders are made)."""
    if settings.broker_url is not None:
        return {
            "broker_url": settings.broker_url,
            "broker_transport_options": {
                "visibility_timeout": 3600,
                "socket_timeout": 10,
                "socket_connect_timeout": 5,
            },
        }
    folder = settings.home / "broker"
    for part in ("messages", "control"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": "filesystem://localhost",  # A host, or kombu warns that there is none.
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        },
    }


class Doorbell:
    """Rings workers. Never raises for a broker that is down: that is logged, and the sweep will find the work."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("paperround-doorbell", set_as_current=False)
        self._celery.conf.update(broker_settings(settings), task_ignore_result=True, broker_connection_timeout=3)
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
        self._ringing: dict[Task, Future[None]] = {}

    def ring(self, task: Task) -> Future[None]:
        """Wake a worker; returns at once, since a broker that is down may take seconds to say so.

        While a ring for the same task is still on its way, that one serves. The answer is done when it was heard or
        given up; nobody needs to wait for it.
        """
        ringing = self._ringing.get(task)
        if ringing is None or ringing.done():
            ringing = self._ringing[task] = self._hand.submit(copy_context().run, self._ring, task)
        return ringing

    def _ring(self, task: Task) -> None:
        try:
            self._celery.send_task(task.value, queue=task.queue.value, expires=60, retry=False)
        except (OperationalError, OSError) as error:
            log.warning("doorbell.unheard", task=task.value, error=type(error).__name__)


@cache
def doorbell(settings: Settings) -> Doorbell:
    """The process's bell for these settings."""
    return Doorbell(settings)


_CARRIED: Final = ("traceparent", "tracestate")
_publishing = local()


def carried(request: Any) -> dict[str, str]:
    """The trace context that came with a task's message; ``request`` is Celery's."""
    found = {name: request.get(name) for name in _CARRIED}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def described(task: str, queue: str) -> dict[str, tracing.Value]:
    """A task's message in the words of OpenTelemetry's conventions for messaging."""
    return {"messaging.system": "celery", "messaging.destination.name": queue, "paperround.task": task}


@before_task_publish.connect
def _published(sender: str, headers: dict[str, Any], routing_key: str = "", **_: object) -> None:
    """Whoever rings, a request or the schedule: the message says of which trace it is."""
    if tracing.on():
        about = {**described(sender, routing_key), "messaging.operation.type": "send"}
        span = tracing.span(f"publish {sender}", about, kind=tracing.Kind.PRODUCER)
        headers.update(span.carried())
        _publishing.span = span


@after_task_publish.connect
def _heard(**_: object) -> None:
    span: tracing.Span | None = _publishing.__dict__.pop("span", None)
    if span is not None:
        span.end()
