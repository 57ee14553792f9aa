"""Who is an operator, and as what. The first one is made by a command; nobody can make themselves one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Operator, OperatorRole, OperatorSession, Passkey
from service.operators import audit
from service.operators.audit import Act
from service.settings import Settings
from service.subscribers import addresses, returned, suppression
from service.subscribers.returned import ReturnView

_RANK: Final = {OperatorRole.VIEWER: 0, OperatorRole.EDITOR: 1, OperatorRole.OWNER: 2}

TOLD: Final = timedelta(days=30)
"""How long it is told that a mail to an operator came back."""


class OperatorError(Exception):
    """An act on operators that cannot be. One line with the remedy."""


@dataclass(frozen=True, slots=True)
class OperatorView:
    id: int
    email: str
    role: OperatorRole
    created_at: datetime
    enrolled_at: datetime | None
    """When their app for codes was set up; None: never, or anew at the next sign-in."""
    passkeys: int
    """How many are enrolled."""
    locked_until: datetime | None
    sessions: int
    """Browsers signed in."""
    came_back: ReturnView | None
    """The last bounce or complaint of a mail to them, of the last :data:`TOLD`; None where a mail was sent after it and
    their address is not suppressed."""
    suppressed: bool
    """No mail goes to their address."""


def allows(role: OperatorRole, needed: OperatorRole) -> bool:
    """Whether ``role`` may do what ``needed`` may."""
    return _RANK[role] >= _RANK[needed]


def add(session: Session, email: str, role: OperatorRole, *, by: int | None) -> int:
    """Make somebody an operator; return their id. Raises AddressError; :class:`OperatorError` for one who is."""
    address = addresses.parse(email)
    made: int | None = session.scalar(
        insert(Operator)
        .values(email=address.email, address_key=address.key, role=role.value)
        .on_conflict_do_nothing()
        .returning(Operator.id)
    )
    if made is None:
        raise OperatorError("this address is an operator's already: `paperround operators role` changes the role")
    audit.record(session, by, Act.OPERATOR_ADDED, f"operator {made}", f"as {role}")
    return made


def find(session: Session, email: str) -> int:
    """The id of an operator. Raises AddressError; :class:`OperatorError` for a stranger."""
    found = session.scalar(select(Operator.id).where(Operator.address_key == addresses.parse(email).key))
    if found is None:
        raise OperatorError("no operator has this address: `paperround operators list` shows all")
    return found


def listing(session: Session, settings: Settings, *, now: datetime | None = None) -> list[OperatorView]:
    """All, in the order in which they came."""
    signed_in = (
        select(OperatorSession.operator_id, func.count().label("number"))
        .where(OperatorSession.verified_at.is_not(None))
        .group_by(OperatorSession.operator_id)
        .subquery()
    )
    passkeys = select(func.count()).where(Passkey.operator_id == Operator.id).scalar_subquery()
    statement = (
        select(Operator, passkeys, func.coalesce(signed_in.c.number, 0))
        .outerjoin(signed_in, signed_in.c.operator_id == Operator.id)
        .order_by(Operator.id)
    )
    found = session.execute(statement).all()
    hashes = {each.id: addresses.hashed(settings, each.address_key) for each, _, _ in found}
    barred = suppression.among(session, hashes.values())
    back = returned.latest(session, list(hashes.values()), (now or datetime.now(UTC)) - TOLD)
    views = []
    for each, passkeys, number in found:
        event, suppressed = back.get(hashes[each.id]), hashes[each.id] in barred
        if event is not None and not suppressed and each.link_sent_at is not None and each.link_sent_at > event.at:
            event = None
        views.append(
            OperatorView(
                id=each.id,
                email=each.email,
                role=OperatorRole(each.role),
                created_at=each.created_at,
                enrolled_at=each.totp_since,
                passkeys=passkeys,
                locked_until=each.locked_until,
                sessions=number,
                came_back=event,
                suppressed=suppressed,
            )
        )
    return views


def change_role(session: Session, operator_id: int, role: OperatorRole, *, by: int | None) -> None:
    """Counts from the operator's next request. Raises :class:`OperatorError` where no owner would be left."""
    operator = _locked(session, operator_id)
    if operator.role == role:
        return
    if operator.role == OperatorRole.OWNER:
        _other_owner(session, operator_id)
    audit.record(session, by, Act.ROLE_CHANGED, f"operator {operator_id}", f"from {operator.role} to {role}")
    operator.role = role.value
    session.flush()


def remove(session: Session, operator_id: int, *, by: int | None) -> None:
    """They are signed out at once. Raises :class:`OperatorError` where others are left without an owner."""
    operator = _locked(session, operator_id)
    others = session.scalar(select(func.count()).select_from(Operator).where(Operator.id != operator_id))
    if operator.role == OperatorRole.OWNER and others:
        _other_owner(session, operator_id)
    session.execute(delete(Operator).where(Operator.id == operator_id))
    audit.record(session, by, Act.OPERATOR_REMOVED, f"operator {operator_id}")


def reset_second_factor(session: Session, operator_id: int, *, by: int | None) -> None:
    """For a lost telephone: no codes any more, signed out everywhere. Passkeys stay; who has none enrols anew."""
    operator = _locked(session, operator_id)
    operator.totp_secret = operator.totp_since = operator.totp_step = operator.locked_until = None
    operator.wrong_codes = 0
    session.execute(delete(OperatorSession).where(OperatorSession.operator_id == operator_id))
    session.flush()
    audit.record(session, by, Act.SECOND_FACTOR_RESET, f"operator {operator_id}")


def _locked(session: Session, operator_id: int) -> Operator:
    # All owners in one order, so that two who demote each other at once wait instead of leaving nobody.
    session.execute(
        select(Operator.id)
        .where((Operator.role == OperatorRole.OWNER) | (Operator.id == operator_id))
        .order_by(Operator.id)
        .with_for_update()
    )
    operator = session.get(Operator, operator_id, populate_existing=True)
    if operator is None:
        raise OperatorError("this operator is gone")
    return operator


def _other_owner(session: Session, operator_id: int) -> None:
    other = select(Operator.id).where(Operator.role == OperatorRole.OWNER, Operator.id != operator_id).limit(1)
    if session.scalar(other) is None:
        raise OperatorError("this is the only owner: make somebody else one first")
