"""What is stuck, in one sentence each, with what can be done about it. The words and sections are the runbook's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from service.database import Database
from service.doorbell import Task
from service.outbox.digest_pause import NOT_HELD_BACK
from service.overview.reading import reading
from service.papers import coverage
from service.papers.coverage import Overdue
from service.settings import Settings

_LONG: Final = timedelta(minutes=30)
"""What is due for longer is stuck; as PaperroundMailStuck and PaperroundPlanningLate."""
_RUNS: Final = timedelta(hours=1)
_MANY: Final = 10_000
"""Counted up to here."""

# Reads ix_delivery_leased.
LEASES = text("SELECT count(*), min(lease_until) FROM delivery WHERE state = 'sending' AND lease_until < :now")
# Reads ix_delivery_due from its beginning, up to a limit.
WAITING = text(f"""
    SELECT count(*), min(due_at) FROM (
        SELECT due_at FROM delivery
        WHERE state IN ('queued', 'deferred') AND due_at <= :stuck AND (deadline IS NULL OR deadline > :now)
            AND {NOT_HELD_BACK}
        LIMIT :most
    ) AS found
""")  # noqa: S608 (constants)
DEFERRED = text("""
    SELECT count(*), min(due_at) FROM (
        SELECT due_at FROM delivery WHERE state = 'deferred' AND due_at > :now AND attempts >= 3 LIMIT :most
    ) AS found
""")
# Reads ix_delivery_uncertain.
UNCERTAIN = text("SELECT count(*), min(settled_at) FROM delivery WHERE state = 'uncertain'")
PAUSE = text("SELECT reason, since, until, tries FROM sending_pause")
# Reads ix_reader_due from its beginning, up to a limit.
UNPLANNED = text("""
    SELECT count(*), min(next_digest_at) FROM (
        SELECT next_digest_at FROM reader WHERE state = 'active' AND next_digest_at <= :stuck LIMIT :most
    ) AS found
""")
# Reads ix_paper_unedited.
UNEDITED = text("SELECT count(*), min(first_seen_at) FROM paper WHERE edition_id IS NULL AND first_seen_at <= :stuck")
# Each task by itself reads ix_task_run_task: its last run, and those of the last hour.
FAILED = text("""
    SELECT asked.task, last.error, last.finished_at, lately.failed
    FROM unnest(CAST(:tasks AS text[])) AS asked (task) CROSS JOIN LATERAL (
        SELECT error, finished_at FROM task_run WHERE task_run.task = asked.task ORDER BY finished_at DESC LIMIT 1
    ) AS last CROSS JOIN LATERAL (
        SELECT count(*) AS failed FROM task_run
        WHERE task_run.task = asked.task AND finished_at >= :since AND error IS NOT NULL
    ) AS lately
    WHERE last.error IS NOT NULL
""")


class Remedy(StrEnum):
    """What an operator can do about it (service/operators/remedies.py)."""

    RELEASE_LEASES = "release leases"
    RETRY_NOW = "retry now"
    RESUME_RELAY = "resume the relay"
    CALL_SENT = "call them sent"
    REPEAT = "repeat them"
    READ_AGAIN = "read that day again"
    RUN_TASK = "run it now"


@dataclass(frozen=True, slots=True)
class Offer:
    """A button: a remedy, and to what."""

    remedy: Remedy
    subject: str = ""
    """A task, or "<source> <day>"."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is stuck."""

    what: str
    meaning: str
    """One sentence."""
    since: datetime | None
    section: str
    """Of docs/runbook.md."""
    offers: tuple[Offer, ...]


def found(database: Database, settings: Settings, *, now: datetime | None = None) -> list[Trouble]:
    """All that is stuck now, the most urgent first; empty is good."""
    moment = now or datetime.now(UTC)
    values = {"now": moment, "stuck": moment - _LONG, "most": _MANY, "since": moment - _RUNS}
    with reading(database) as connection:
        with Session(connection) as session:
            late = coverage.overdue(session, settings.look_back_days, now=moment)
        return [
            *_relay(connection),
            *_leases(connection, values),
            *_uncertain(connection, settings),
            *_waiting(connection, values),
            *_deferred(connection, values),
            *_unplanned(connection, values),
            *_unedited(connection, values),
            *_tasks(connection, values),
            *(_overdue(each) for each in late),
        ]


def _relay(connection: Connection) -> list[Trouble]:
    row = connection.execute(PAUSE).one_or_none()
    if row is None:
        return []
    meaning = (
        f"Nobody’s mail leaves: {row.reason}. It is tried by itself ({row.tries} times so far, next at"
        f" {row.until:%H:%M:%S} UTC); resuming tries it at once."
    )
    return [Trouble("The relay is paused", meaning, row.since, "PaperroundMailStuck", (Offer(Remedy.RESUME_RELAY),))]


def _leases(connection: Connection, values: dict[str, object]) -> list[Trouble]:
    number, since = connection.execute(LEASES, values).one()
    if not number:
        return []
    meaning = (
        "Their sender was lost and nothing has given them back, so the schedule or a worker for housekeeping does not"
        " run; releasing puts them into the queue, under the same Message-IDs."
    )
    return [
        Trouble(
            f"{_many(number)} held by lost senders", meaning, since, "PaperroundSendersLost",
            (Offer(Remedy.RELEASE_LEASES), Offer(Remedy.RUN_TASK, Task.SWEEP_LEASES)),
        )
    ]  # fmt: skip


def _uncertain(connection: Connection, settings: Settings) -> list[Trouble]:
    number, since = connection.execute(UNCERTAIN).one()
    if not number:
        return []
    then = {
        "repeat": "the next sweep repeats them",
        "drop": "the next sweep drops them",
        "ask": "they wait for your word",
    }
    meaning = (
        "The relay’s last answer was lost, so it may have them or not (RFC 1047); its log knows by the Message-ID, and"
        f" {then[settings.uncertain]}."
    )
    offers = (Offer(Remedy.CALL_SENT), Offer(Remedy.REPEAT))
    return [Trouble(f"{_many(number)} uncertain", meaning, since, "PaperroundMailStuck", offers)]


def _waiting(connection: Connection, values: dict[str, object]) -> list[Trouble]:
    number, since = connection.execute(WAITING, values).one()
    if not number:
        return []
    meaning = (
        "They are due for over half an hour: no worker for the queue “send” runs, the relay takes too few, or a limit"
        " of your own holds them back."
    )
    offers = (Offer(Remedy.RUN_TASK, Task.SEND_DUE),)
    return [Trouble(f"{_many(number)} due and not sent", meaning, since, "PaperroundMailStuck", offers)]


def _deferred(connection: Connection, values: dict[str, object]) -> list[Trouble]:
    number, _ = connection.execute(DEFERRED, values).one()
    if not number:
        return []
    meaning = (
        "Servers said “later” three times or more; they are tried again by themselves until their deadline, and now if"
        " you know that the cause is gone."
    )
    offers = (Offer(Remedy.RETRY_NOW),)
    return [Trouble(f"{_many(number)} deferred again and again", meaning, None, "PaperroundDeliveriesFail", offers)]


def _unplanned(connection: Connection, values: dict[str, object]) -> list[Trouble]:
    number, since = connection.execute(UNPLANNED, values).one()
    if not number:
        return []
    meaning = (
        "Their hour came over half an hour ago: the schedule or a worker for the queue “plan” does not run; each gets"
        " one digest for all they missed."
    )
    offers = (Offer(Remedy.RUN_TASK, Task.PLAN_DUE),)
    return [Trouble(f"{_many(number, 'reader')} not planned", meaning, since, "PaperroundPlanningLate", offers)]


def _unedited(connection: Connection, values: dict[str, object]) -> list[Trouble]:
    number, since = connection.execute(UNEDITED, values).one()
    if not number:
        return []
    meaning = "They came over half an hour ago: no worker for the queue “match” runs; the next edition takes them all."
    offers = (Offer(Remedy.RUN_TASK, Task.MATCH_NEW),)
    return [Trouble(f"{_many(number, 'paper')} in no edition", meaning, since, "PaperroundPapersLeft", offers)]


def _tasks(connection: Connection, values: dict[str, object]) -> list[Trouble]:
    rows = connection.execute(FAILED, values | {"tasks": [task.value for task in Task]}).all()
    return [
        Trouble(
            f"The task {row.task} fails",
            f"Its last run ended with {row.error} ({row.failed} in the last hour); the worker’s log has “task.failed”,"
            " and the schedule goes on trying.",
            row.finished_at,
            "PaperroundTaskFails",
            (Offer(Remedy.RUN_TASK, row.task),),
        )
        for row in rows
    ]


def _overdue(late: Overdue) -> Trouble:
    days = "1 day" if len(late.days) == 1 else f"{len(late.days)} days"
    why = f" (“{late.error}”)" if late.error else ""
    meaning = (
        f"What {late.source} announced is not all here{why}; it is asked for again while the look-back lasts, or for"
        " longer if you say so."
    )
    offers = tuple(Offer(Remedy.READ_AGAIN, f"{late.source} {day}") for day in late.days[-7:])
    return Trouble(f"{days} of {late.source} not complete", meaning, None, "PaperroundSourceOverdue", offers)


def _many(number: int, thing: str = "delivery") -> str:
    plural = "deliveries" if thing == "delivery" else f"{thing}s"
    return f"{'1 ' + thing if number == 1 else f'{number:,} {plural}'}{' or more' if number >= _MANY else ''}"
