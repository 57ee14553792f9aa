"""The queues as the measures tell them, by the same statements: what is open by kind, and what tasks took."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from service import measures
from service.database import Database
from service.database.tables import DeliveryKind
from service.doorbell import Task
from service.overview.reading import reading

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OpenMail:
    """Deliveries of one kind that are not settled."""

    kind: DeliveryKind
    queued: int
    deferred: int
    sending: int
    oldest_due: datetime | None
    """Since when the one waits that is due for longest."""


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """The runs of one task in the last hour."""

    task: Task
    done: int
    failed: int
    median: float | None
    """Seconds, and of the longest; None where none ran."""
    longest: float | None
    succeeded_at: datetime | None
    """Its last run that came to its end, within two days."""


@dataclass(frozen=True, slots=True)
class Queues:
    """What waits, and how the tasks are doing."""

    mail: tuple[OpenMail, ...]
    """The kinds of which something is open."""
    tasks: tuple[TaskRuns, ...]


def queues(database: Database, *, now: datetime | None = None) -> Queues:
    """Reads ix_delivery_due, ix_delivery_leased and ix_task_run_task."""
    moment = now or datetime.now(UTC)
    tasks = {"tasks": [task.value for task in Task], "since": moment - _HOUR}
    with reading(database) as connection:
        waiting = {(kind, state): (count, due) for kind, state, count, due in
                   connection.execute(measures.WAITING, {"now": moment})}  # fmt: skip
        leased: dict[str, int] = {
            kind: count for kind, count, _ in connection.execute(measures.LEASED, {"now": moment})
        }
        runs = {task: _runs(Task(task), *took) for task, *took in connection.execute(measures.RUNS, tasks)}
        succeeded: dict[str, datetime] = dict(connection.execute(measures.SUCCEEDED, tasks).all())
    mail = []
    for kind in DeliveryKind:
        queued, deferred = (waiting.get((kind, state), (0, None)) for state in ("queued", "deferred"))
        oldest = min((due for _, due in (queued, deferred) if due is not None), default=None)
        if queued[0] or deferred[0] or leased.get(kind):
            mail.append(OpenMail(kind, queued[0], deferred[0], leased.get(kind, 0), oldest))
    return Queues(tuple(mail), tuple(replace(runs[task], succeeded_at=succeeded.get(task)) for task in Task))


def _runs(task: Task, done: int, failed: int, quantiles: list[float] | None) -> TaskRuns:
    median, _, longest = quantiles or (None, None, None)
    return TaskRuns(task, done, failed, median, longest, None)
