"""Where operators are signed in: a random token in a cookie, its hash in the table, an end by rest and by age.

A session begins with the mailed link and opens nothing until a code of the second factor is given in it; then it gets
a new token, so that one seen before is worth nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from service.database.tables import Operator, OperatorRole, OperatorSession
from service.operators import audit, second_factor
from service.operators.audit import Act
from service.settings import Settings

UNVERIFIED: Final = timedelta(minutes=15)
"""From the link to the code."""
WRONG_CODES: Final = 5
"""One after the other; then none is looked at for a while."""
LOCKED: Final = timedelta(minutes=15)
_SEEN: Final = timedelta(minutes=1)
_LONGEST_AGENT: Final = 300


class Verdict(StrEnum):
    """What became of a code."""

    TAKEN = "taken"
    WRONG = "wrong"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Seat:
    """An operator in a browser, as a request finds them."""

    session_id: int
    operator_id: int
    email: str
    role: OperatorRole
    verified: bool
    """Whether the second factor was given: without it nothing is shown."""
    enrolled: bool
    csrf: str
    """What every form of this session carries."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session to be looked at."""

    id: int
    created_at: datetime
    seen_at: datetime
    user_agent: str


def begin(
    session: Session, settings: Settings, operator_id: int, user_agent: str, *, now: datetime | None = None
) -> str:
    """A new session without its second factor, and its token. Who has none enrolled gets a new secret to enrol with."""
    moment = now or datetime.now(UTC)
    session.execute(delete(OperatorSession).where(~_alive(settings, moment)))
    operator = session.scalars(select(Operator).where(Operator.id == operator_id).with_for_update()).one()
    if operator.totp_since is None:
        operator.totp_secret = second_factor.sealed(settings, operator_id, second_factor.new_secret())
    token = secrets.token_urlsafe(32)
    agent = user_agent.replace("\x00", "")[:_LONGEST_AGENT]
    session.add(
        OperatorSession(
            operator_id=operator_id, token_hash=_hash(token), created_at=moment, seen_at=moment, user_agent=agent
        )
    )
    session.flush()
    return token


def read(session: Session, settings: Settings, token: str | None, *, now: datetime | None = None) -> Seat | None:
    """Who sits behind a cookie; None where it is unknown, ended or too old. Notes, once a minute, that it was seen."""
    if not token:
        return None
    moment = now or datetime.now(UTC)
    found = session.execute(
        select(OperatorSession, Operator)
        .join(Operator, Operator.id == OperatorSession.operator_id)
        .where(OperatorSession.token_hash == _hash(token), _alive(settings, moment))
    ).one_or_none()
    if found is None:
        return None
    here, operator = found
    if here.seen_at < moment - _SEEN:
        session.execute(update(OperatorSession).where(OperatorSession.id == here.id).values(seen_at=moment))
    return Seat(
        session_id=here.id,
        operator_id=operator.id,
        email=operator.email,
        role=OperatorRole(operator.role),
        verified=here.verified_at is not None,
        enrolled=operator.totp_since is not None,
        csrf=_csrf(settings, here.token_hash),
    )


def enrolment(session: Session, settings: Settings, seat: Seat) -> bytes:
    """The secret to be put into an app, for a session that has not enrolled yet. Raises SecondFactorError."""
    stored = session.scalars(select(Operator.totp_secret).where(Operator.id == seat.operator_id)).one()
    return second_factor.opened(settings, seat.operator_id, stored or b"")


def verify(
    session: Session, settings: Settings, seat: Seat, code: str, *, now: datetime | None = None
) -> tuple[Verdict, str]:
    """Look at a code; with TAKEN, the session's new token. Commits are the caller's, whatever the verdict.

    1. The operator's row is held: two tries at once are two tries.
    2. A right code of a step that was not used takes it, enrols where it is the first, and verifies the session.
    3. A wrong one is counted; the fifth in a row locks. Both are in the audit log.

    Raises SecondFactorError where the stored secret cannot be opened.
    """
    moment = now or datetime.now(UTC)
    operator = session.scalars(select(Operator).where(Operator.id == seat.operator_id).with_for_update()).one()
    if operator.locked_until is not None and operator.locked_until > moment:
        return Verdict.LOCKED, ""
    secret = second_factor.opened(settings, operator.id, operator.totp_secret or b"")
    step = second_factor.step_of(secret, code, moment, after=operator.totp_step)
    subject = f"session {seat.session_id}"
    if step is None:
        operator.wrong_codes += 1
        locks = operator.wrong_codes >= WRONG_CODES
        if locks:
            operator.wrong_codes, operator.locked_until = 0, moment + LOCKED
        audit.record(session, operator.id, Act.CODE_REFUSED, subject, "locked for a while" if locks else "")
        return (Verdict.LOCKED if locks else Verdict.WRONG), ""
    operator.totp_step, operator.wrong_codes, operator.locked_until = step, 0, None
    if operator.totp_since is None:
        operator.totp_since = moment
        audit.record(session, operator.id, Act.SECOND_FACTOR_ENROLLED, f"operator {operator.id}")
    token = secrets.token_urlsafe(32)
    session.execute(
        update(OperatorSession)
        .where(OperatorSession.id == seat.session_id)
        .values(token_hash=_hash(token), verified_at=moment, seen_at=moment)
    )
    audit.record(session, operator.id, Act.SIGNED_IN, subject)
    return Verdict.TAKEN, token


def listing(
    session: Session, settings: Settings, operator_id: int, *, now: datetime | None = None
) -> list[SessionView]:
    """Where an operator is signed in, the newest first."""
    found = session.scalars(
        select(OperatorSession)
        .where(
            OperatorSession.operator_id == operator_id,
            OperatorSession.verified_at.is_not(None),
            _alive(settings, now or datetime.now(UTC)),
        )
        .order_by(OperatorSession.id.desc())
    )
    return [SessionView(each.id, each.created_at, each.seen_at, each.user_agent) for each in found]


def end(session: Session, operator_id: int, *, by: int | None, session_id: int | None = None) -> int:
    """Sign an operator out: of one session, or of all. How many ended; the act is recorded."""
    wanted = OperatorSession.operator_id == operator_id
    if session_id is not None:
        wanted = and_(wanted, OperatorSession.id == session_id)
    ended = session.scalars(delete(OperatorSession).where(wanted).returning(OperatorSession.id)).all()
    subject = f"operator {operator_id}" if session_id is None else f"session {session_id}"
    audit.record(session, by, Act.SIGNED_OUT, subject, f"sessions ended: {len(ended)}")
    return len(ended)


def _alive(settings: Settings, now: datetime) -> ColumnElement[bool]:
    rest = timedelta(minutes=settings.operator_idle_minutes)
    age = timedelta(hours=settings.operator_session_hours)
    return and_(
        OperatorSession.seen_at > now - rest,
        OperatorSession.created_at > now - age,
        or_(OperatorSession.verified_at.is_not(None), OperatorSession.created_at > now - UNVERIFIED),
    )


def _csrf(settings: Settings, token_hash: bytes) -> str:
    return hmac.new(settings.signing_key.encode(), b"paperround operator form" + token_hash, hashlib.sha256).hexdigest()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
