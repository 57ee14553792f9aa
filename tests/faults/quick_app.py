"""The Celery app with a schedule that ticks every second or two, so that a hundred kills take minutes, not hours."""

from __future__ import annotations

from service.doorbell import Task
from workers.app import app

__all__ = ["app"]

for _task in (Task.MATCH_NEW, Task.PLAN_DUE, Task.SEND_DUE, Task.SWEEP_LEASES):
    _entry = app.conf.beat_schedule[_task.value]
    _entry["schedule"] = 2.0 if _task is Task.SWEEP_LEASES else 1.0
    _entry["options"]["expires"] = 2.0
