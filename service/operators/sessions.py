"""Where operators are signed in: a random token in a cookie, its hash in the table, an end by rest and by age.

A session begins with the mailed link and opens nothing until a second factor is given in it, a code or a passkey; then
it gets a new token, so that one seen before is worth nothing. A passkey that knows its user begins one by itself
(passkeys.py).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from service.database.tables import Operator, OperatorRole, OperatorSession, Passkey
from service.operators import audit, second_factor
from service.operators.audit import Act
from service.settings import Settings

UNVERIFIED: Final = timedelta(minutes=15)
"""From the link to the code."""
WRONG_CODES: Final = 5
"""One after the other; then none is looked at for a while."""
LOCKED: Final = timedelta(minutes=15)
FRESH: Final = timedelta(minutes=10)
"""So long a second factor counts as just given: whoever changes how one signs in has given it now."""
_SEEN: Final = timedelta(minutes=1)
_LONGEST_AGENT: Final = 300


class Verdict(StrEnum):
    """What became of a code."""

    TAKEN = "taken"
    WRONG = "wrong"
    LOCKED = "locked"
    NO_CODES = "no codes"
    """This operator has passkeys and no app: a code proves nothing, and none is set up by the mailed link alone."""


@dataclass(frozen=True, slots=True)
class Seat:
    """An operator in a browser, as a request finds them."""

    session_id: int
    operator_id: int
    email: str
    role: OperatorRole
    verified: bool
    """Whether the second factor was given: without it nothing is shown."""
    fresh: bool
    """Whether it was given a moment ago (``FRESH``)."""
    codes: bool
    """Whether an app for codes is set up."""
    passkeys: int
    """How many are enrolled."""
    csrf: str
    """What every form of this session carries."""
    older_csrf: tuple[str, ...] = ()
    """What forms carry that were shown before the secret was changed."""

    @property
    def forms(self) -> tuple[str, ...]:
        """What a form may carry to be this session's."""
        return (self.csrf, *self.older_csrf)

    @property
    def enrolled(self) -> bool:
        """Whether there is a second factor at all; who has none sets one up at the door."""
        return self.codes or self.passkeys > 0


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
    """A new session without its second factor: its token. Who has no app for codes gets a new secret to set one up."""
    return _begun(session, settings, operator_id, user_agent, now or datetime.now(UTC))[1]


def begin_verified(session: Session, settings: Settings, operator_id: int, user_agent: str, *, now: datetime) -> str:
    """A new session in which both factors were given at once: its token."""
    number, _ = _begun(session, settings, operator_id, user_agent, now)
    return admit(session, operator_id, number, again=False, now=now)


def admit(session: Session, operator_id: int, session_id: int, *, again: bool, now: datetime) -> str:
    """The second factor was given: the session's new token. ``again``: not for the first time in this session."""
    token = secrets.token_urlsafe(32)
    session.execute(
        update(OperatorSession)
        .where(OperatorSession.id == session_id)
        .values(token_hash=_hash(token), verified_at=now, seen_at=now)
    )
    act = Act.SECOND_FACTOR_AGAIN if again else Act.SIGNED_IN
    audit.record(session, operator_id, act, f"session {session_id}")
    return token


def _begun(
    session: Session, settings: Settings, operator_id: int, user_agent: str, moment: datetime
) -> tuple[int, str]:
    session.execute(delete(OperatorSession).where(~_alive(settings, moment)))
    operator = session.scalars(select(Operator).where(Operator.id == operator_id).with_for_update()).one()
    if operator.totp_since is None:
        operator.totp_secret = second_factor.sealed(settings, operator_id, second_factor.new_secret())
    token = secrets.token_urlsafe(32)
    agent = user_agent.replace("\x00", "")[:_LONGEST_AGENT]
    made = OperatorSession(
        operator_id=operator_id, token_hash=_hash(token), created_at=moment, seen_at=moment, user_agent=agent
    )
    session.add(made)
    session.flush()
    return made.id, token


def read(session: Session, settings: Settings, token: str | None, *, now: datetime | None = None) -> Seat | None:
    """Who sits behind a cookie; None where it is unknown, ended or too old. Notes, once a minute, that it was seen."""
    if not token:
        return None
    moment = now or datetime.now(UTC)
    passkeys = select(func.count()).where(Passkey.operator_id == Operator.id).scalar_subquery()
    found = session.execute(
        select(OperatorSession, Operator, passkeys)
        .join(Operator, Operator.id == OperatorSession.operator_id)
        .where(OperatorSession.token_hash == _hash(token), _alive(settings, moment))
    ).one_or_none()
    if found is None:
        return None
    here, operator, number = found
    *older, newest = (_csrf(secret, here.token_hash) for secret in settings.verifying_keys)
    if here.seen_at < moment - _SEEN:
        session.execute(update(OperatorSession).where(OperatorSession.id == here.id).values(seen_at=moment))
    return Seat(
        session_id=here.id,
        operator_id=operator.id,
        email=operator.email,
        role=OperatorRole(operator.role),
        verified=here.verified_at is not None,
        fresh=here.verified_at is not None and here.verified_at > moment - FRESH,
        codes=operator.totp_since is not None,
        passkeys=number,
        csrf=newest,
        older_csrf=tuple(older),
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
    2. Where only passkeys are set up, the mailed link and a code of a secret that nobody proved are not enough.
    3. A right code of a step that was not used takes it, enrols where it is the first, and verifies the session.
    4. A wrong one is counted; the fifth in a row locks. Both are in the audit log.

    Raises SecondFactorError where the stored secret cannot be opened.
    """
    moment = now or datetime.now(UTC)
    operator = session.scalars(select(Operator).where(Operator.id == seat.operator_id).with_for_update()).one()
    if operator.locked_until is not None and operator.locked_until > moment:
        return Verdict.LOCKED, ""
    first = operator.totp_since is None
    if first and not seat.fresh and has_passkeys(session, operator.id):
        return Verdict.NO_CODES, ""
    stored = operator.totp_secret or b""
    secret = second_factor.opened(settings, operator.id, stored)
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
    operator.totp_secret = second_factor.resealed(settings, operator.id, stored) or stored
    if first:
        operator.totp_since = moment
        audit.record(session, operator.id, Act.SECOND_FACTOR_ENROLLED, f"operator {operator.id}")
    return Verdict.TAKEN, admit(session, operator.id, seat.session_id, again=seat.verified, now=moment)


def has_passkeys(session: Session, operator_id: int) -> bool:
    return session.scalar(select(Passkey.id).where(Passkey.operator_id == operator_id).limit(1)) is not None


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


def _csrf(secret: str, token_hash: bytes) -> str:
    return hmac.new(secret.encode(), b"paperround operator form" + token_hash, hashlib.sha256).hexdigest()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
