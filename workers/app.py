"""The Celery app, its queues and its schedule.

Broker settings, queue and task names come from ``service.doorbell``. Results are ignored: what a task did stands in
the tables. Every scheduled message expires before the next is due, so a worker that was away does not find a pile.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_after_setup, setup_logging, worker_process_init, worker_process_shutdown

from service import logs, tracing
from service.doorbell import Queue, Task, broker_settings
from service.settings import Settings, load

settings: Settings = load()

app = Celery("paperround", include=["workers.tasks"])


def _every(seconds: float, task: Task) -> dict[str, Any]:
    return {
        "task": task.value,
        "schedule": seconds,
        "options": {"queue": task.queue.value, "expires": max(seconds * 0.9, 2.0)},
    }


app.conf.update(
    broker_settings(settings),
    task_ignore_result=True,
    task_default_queue=Queue.HOUSEKEEPING.value,
    task_routes={task.value: {"queue": task.queue.value} for task in Task},
    # A task that dies with its worker is not run again by the broker: the next tick finds its work in the tables.
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # Remote control needs a broadcast channel, which the embedded broker fakes with files that pile up.
    worker_enable_remote_control=settings.broker_url is not None,
    worker_send_task_events=settings.broker_url is not None,
    worker_hijack_root_logger=False,
    timezone="UTC",
    beat_schedule={
        task.value: _every(seconds, task)
        for task, seconds in {
            Task.INGEST_ALL: settings.ingest_minutes * 60.0,
            Task.MATCH_NEW: 300.0,
            Task.PLAN_DUE: 30.0,
            Task.SEND_DUE: 5.0,
            Task.SWEEP_LEASES: 30.0,
            Task.PRUNE: 3600.0,
            Task.READ_RETURNS: settings.imap_minutes * 60.0 if settings.imap_url else 0.0,
        }.items()
        if seconds
    },
)


@setup_logging.connect
def _configure_logs(**_: object) -> None:
    logs.configure(settings)


_process = tracing.Process.WORKER


@celeryd_after_setup.connect
def _know_the_kind(instance: Any, **_: object) -> None:
    global _process  # noqa: PLW0603 (told to the processes that are forked later)
    if set(instance.app.amqp.queues.consume_from) == {Queue.SEND.value}:
        _process = tracing.Process.SENDER


@worker_process_init.connect
def _trace(**_: object) -> None:
    # In each process after its fork: the thread that exports would not have come along.
    tracing.start(_process)


@beat_init.connect
def _trace_the_schedule(**_: object) -> None:
    tracing.start(tracing.Process.BEAT)


@worker_process_shutdown.connect
def _export_the_rest(**_: object) -> None:
    tracing.stop()
