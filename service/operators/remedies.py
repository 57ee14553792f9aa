"""What operators do about what is stuck. Each in the caller's transaction, together with its line in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.database.tables import SendingPause
from service.doorbell import Task
from service.operators.accounts import OperatorError
from service.operators.audit import Act
from service.outbox import rows
from service.overview.trouble import Remedy
from service.papers import coverage

MOST: Final = 10_000
"""Deliveries that one press tries again; press once more for more."""


@dataclass(frozen=True, slots=True)
class Remedied:
    """What a remedy did."""

    act: Act
    subject: str
    detail: str
    ring: Task | None
    """Whose work begins with it."""


def apply(session: Session, remedy: Remedy, subject: str) -> Remedied:
    """Do one thing about what is stuck; done twice, the second time finds nothing to do.

    ``subject`` is the offer's: a task, or a source and a day. Raises :class:`OperatorError` where it names nothing.
    """
    match remedy:
        case Remedy.RELEASE_LEASES:
            return Remedied(Act.LEASES_RELEASED, "", _number(rows.release(session)), Task.SEND_DUE)
        case Remedy.RETRY_NOW:
            return Remedied(Act.RETRIED_NOW, "", _number(rows.retry_now(session, limit=MOST)), Task.SEND_DUE)
        case Remedy.RESUME_RELAY:
            ended = session.scalar(delete(SendingPause).returning(SendingPause.id))
            detail = "" if ended is not None else "it was not paused any more"
            return Remedied(Act.RELAY_RESUMED, "", detail, Task.SEND_DUE)
        case Remedy.CALL_SENT:
            number = rows.decide_uncertain(session, sent=True)
            return Remedied(Act.UNCERTAIN_CALLED_SENT, "", _number(number), None)
        case Remedy.REPEAT:
            number = rows.decide_uncertain(session, sent=False)
            return Remedied(Act.UNCERTAIN_REPEATED, "", _number(number), Task.SEND_DUE)
        case Remedy.READ_AGAIN:
            source, day = _source_day(subject)
            if not coverage.ask_again(session, source, day):
                raise OperatorError("nothing is known of this day of this source: `paperround ingest` reads it")
            return Remedied(Act.DAY_READ_AGAIN, f"{source} {day}", "with the days after it", Task.INGEST_ALL)
        case Remedy.RUN_TASK:
            if subject not in tuple(Task):
                raise OperatorError("there is no such task")
            return Remedied(Act.TASK_RUNG, subject, "", Task(subject))


def _number(number: int) -> str:
    return f"deliveries: {number}"


def _source_day(subject: str) -> tuple[str, date]:
    source, _, written = subject.rpartition(" ")
    try:
        return source, date.fromisoformat(written)
    except ValueError:
        raise OperatorError("this names no day") from None
