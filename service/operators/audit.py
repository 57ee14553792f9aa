"""The record of what operators did. Append-only; written in the transaction of the act; no addresses in it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import IO, Final

import orjson
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import AuditEvent, Operator
from service.subscribers.export import Form

_ADDRESS: Final = re.compile(r"\S+@\S+")
_LONGEST: Final = 500


class Act(StrEnum):
    """What is recorded, as the log names it."""

    OPERATOR_ADDED = "operator added"
    OPERATOR_REMOVED = "operator removed"
    ROLE_CHANGED = "role changed"
    SECOND_FACTOR_RESET = "second factor reset"
    SECOND_FACTOR_ENROLLED = "second factor enrolled"
    LINK_PRINTED = "link printed"
    SIGNED_IN = "signed in"
    CODE_REFUSED = "code refused"
    SIGNED_OUT = "signed out"
    SECOND_FACTOR_AGAIN = "second factor given again"
    PASSKEY_ENROLLED = "passkey enrolled"
    PASSKEY_USED = "passkey used"
    PASSKEY_REFUSED = "passkey refused"
    PASSKEY_REMOVED = "passkey removed"
    LEASES_RELEASED = "leases released"
    RETRIED_NOW = "deferred mail tried again"
    RELAY_RESUMED = "relay resumed"
    UNCERTAIN_CALLED_SENT = "uncertain mail called sent"
    UNCERTAIN_REPEATED = "uncertain mail repeated"
    DAY_READ_AGAIN = "day asked for again"
    TASK_RUNG = "task rung for"
    DIGESTS_PAUSED = "all digests paused"
    DIGESTS_RESUMED = "all digests resumed"
    DIGEST_RESENT = "digest resent"
    ADDRESS_SUPPRESSED = "address suppressed"
    SUPPRESSION_LIFTED = "suppression lifted"
    READER_SIGNED_OUT = "reader signed out"
    SIGN_IN_LINK_SENT = "sign-in link sent"
    TOPIC_ADDED = "topic added"
    TOPIC_EDITED = "topic edited"
    TOPIC_RETIRED = "topic retired"
    TOPIC_AS_SHIPPED = "topic as shipped"
    NOTE_SAVED = "note saved"
    NOTE_WITHDRAWN = "note withdrawn"
    TEST_SENT = "test sent"
    READER_ADDED = "reader added"
    READER_REMOVED = "reader removed"
    IMPORT_BEGUN = "import of readers begun"
    READERS_IMPORTED = "readers imported"
    READERS_EXPORTED = "readers exported"
    PAPERS_TAKEN = "papers taken"
    ROUND_BEGUN = "round begun"
    RETURNS_READ = "returns read"
    BACKED_UP = "backed up"
    RESTORED = "restored"
    MIGRATED = "database migrated"
    RIGHTS_GRANTED = "rights granted"
    ROTATED = "secret rotated"
    RESEALED = "sealed under the new secret"
    OLD_SECRETS_DROPPED = "old secrets dropped"
    HASH_KEY_GIVEN_UP = "key of hashes given up"
    LOG_EXPORTED = "log exported"
    LOG_SHORTENED = "log shortened"
    """Written by the database (shorten_audit_log)."""


@dataclass(frozen=True, slots=True)
class AuditView:
    """One line of the log."""

    id: int
    at: datetime
    operator_id: int | None
    """None: a command on the machine."""
    address: str | None
    """The operator's, read now; None for a command, and for one who is gone."""
    act: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Lines, the newest first, and where older ones begin."""

    lines: tuple[AuditView, ...]
    older: int | None


def record(session: Session, by: int | None, act: Act, subject: str = "", detail: str = "") -> int:
    """Append one line in the caller's transaction: no act without its record, no record without its act.

    ``by`` is the operator's id, None for a command; ``subject`` names what it was done to by id ("reader 7"). What
    looks like an address is left out.
    """
    event = AuditEvent(operator_id=by, act=act.value, subject=_clear(subject), detail=_clear(detail))
    session.add(event)
    session.flush()
    return event.id


def page(
    session: Session,
    *,
    operator_id: int | None = None,
    act: Act | None = None,
    subject: str | None = None,
    before: int | None = None,
    limit: int,
) -> AuditPage:
    """The log, the newest first. Reads the primary key, or ix_audit_event_operator_id, _act or _subject."""
    statement = _lines().order_by(AuditEvent.id.desc()).limit(limit + 1)
    if operator_id is not None:
        statement = statement.where(AuditEvent.operator_id == operator_id)
    if act is not None:
        statement = statement.where(AuditEvent.act == act.value)
    if subject is not None:
        statement = statement.where(AuditEvent.subject == subject)
    if before is not None:
        statement = statement.where(AuditEvent.id < before)
    rows: Sequence[AuditView] = [AuditView(*row) for row in session.execute(statement)]
    return AuditPage(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)


def export(
    database: Database, file: IO[bytes], form: Form, *, first: date | None = None, last: date | None = None
) -> int:
    """Write the log, the oldest line first, as JSON Lines or CSV, streamed; of some days (UTC, both included) only.
    Return the number of lines. ``operator`` is null for a command, ``address`` also for one who is gone."""
    lines = _lines().order_by(AuditEvent.id)
    if first is not None:
        lines = lines.where(AuditEvent.at >= datetime.combine(first, time(), UTC))
    if last is not None:
        lines = lines.where(AuditEvent.at < datetime.combine(last + timedelta(days=1), time(), UTC))
    names = ("id", "at", "operator", "address", "act", "subject", "detail")
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    cells = csv.writer(text)
    if form is Form.CSV:
        cells.writerow(names)
    number = 0
    with database.transaction() as session:
        for row in session.execute(lines.execution_options(yield_per=1_000)):
            number += 1
            if form is Form.CSV:
                cells.writerow([each.isoformat() if isinstance(each, datetime) else each for each in row])
            else:
                text.write(orjson.dumps(dict(zip(names, row, strict=True))).decode() + "\n")
    text.detach()
    return number


def one(session: Session, event_id: int, operator_id: int) -> AuditView | None:
    """A line, to the operator whose act it was."""
    found = session.execute(
        _lines().where(AuditEvent.id == event_id, AuditEvent.operator_id == operator_id)
    ).one_or_none()
    return AuditView(*found) if found is not None else None


def _lines() -> Select[int, datetime, int | None, str, str, str, str]:
    return select(
        AuditEvent.id,
        AuditEvent.at,
        AuditEvent.operator_id,
        Operator.email,
        AuditEvent.act,
        AuditEvent.subject,
        AuditEvent.detail,
    ).outerjoin(Operator, Operator.id == AuditEvent.operator_id)


def _clear(text: str) -> str:
    return " ".join(_ADDRESS.sub("(an address)", text.replace("\x00", "")).split())[:_LONGEST]
