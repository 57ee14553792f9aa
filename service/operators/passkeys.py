"""The passkeys of operators: where there can be any, which there are, and how one is taken away.

How they are enrolled and used: ceremonies.py.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.database.tables import Operator, OperatorSession, Passkey
from service.operators import audit
from service.operators.accounts import OperatorError
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.settings import Settings

MOST: Final = 20
"""Passkeys of one operator."""
LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The site, as authenticators know it."""

    id: str
    """Its name in the DNS: passkeys work there and nowhere else."""
    origin: str


@dataclass(frozen=True, slots=True)
class PasskeyView:
    id: int
    name: str
    created_at: datetime
    used_at: datetime | None
    alone: bool
    """Whether it may open the door without a mailed link."""


def relying_party(settings: Settings) -> RelyingParty | None:
    """None where browsers know no passkeys: without HTTPS but on localhost, and for a site with a bare IP address."""
    parts = urlsplit(settings.origin)
    try:
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except (UnicodeError, ValueError):
        return None
    local = host == "localhost" or host.endswith(".localhost")
    if not host or _is_address(host) or (parts.scheme != "https" and not local):
        return None
    usual = port is None or port == (443 if parts.scheme == "https" else 80)
    return RelyingParty(host, f"{parts.scheme}://{host}" if usual else f"{parts.scheme}://{host}:{port}")


def listing(session: Session, operator_id: int) -> list[PasskeyView]:
    """An operator's passkeys, in the order in which they came."""
    columns = (Passkey.id, Passkey.name, Passkey.created_at, Passkey.used_at, Passkey.user_verified)
    found = session.execute(select(*columns).where(Passkey.operator_id == operator_id).order_by(Passkey.id))
    return [PasskeyView(*row) for row in found]


def remove(session: Session, seat: Seat, passkey_id: int) -> None:
    """One's own. Raises OperatorError for the last second factor, and for a passkey that is not theirs."""
    operator = held(session, seat.operator_id)
    if not seat.fresh:
        raise OperatorError("your second factor was given a while ago: give it once more, then remove the passkey")
    others = select(Passkey.id).where(Passkey.operator_id == operator.id, Passkey.id != passkey_id).limit(1)
    if operator.totp_since is None and session.scalar(others) is None:
        raise OperatorError("this is your only second factor: set up another passkey, or an app for codes, first")
    _gone(session, operator.id, passkey_id, by=operator.id)


def remove_by_command(session: Session, operator_id: int, passkey_id: int) -> None:
    """For a lost device: signed out everywhere. Who has no second factor left sets one up at the next sign-in.

    Raises OperatorError for a passkey that is not theirs.
    """
    held(session, operator_id)
    _gone(session, operator_id, passkey_id, by=None)
    session.execute(delete(OperatorSession).where(OperatorSession.operator_id == operator_id))


def _gone(session: Session, operator_id: int, passkey_id: int, *, by: int | None) -> None:
    wanted = (Passkey.id == passkey_id, Passkey.operator_id == operator_id)
    if session.scalar(delete(Passkey).where(*wanted).returning(Passkey.id)) is None:
        raise OperatorError(f"there is no passkey {passkey_id} of this operator")
    audit.record(session, by, Act.PASSKEY_REMOVED, f"passkey {passkey_id}", f"of operator {operator_id}")


def held(session: Session, operator_id: int) -> Operator:
    """The operator's row, locked: of two acts on their second factors the later one sees what the earlier one did.

    Raises OperatorError for one who is gone.
    """
    operator = session.scalars(select(Operator).where(Operator.id == operator_id).with_for_update()).one_or_none()
    if operator is None:
        raise OperatorError("this operator is gone")
    return operator


def named(name: str) -> str:
    """An operator's word for a passkey, in one line; may be empty."""
    return " ".join(name.replace("\x00", "").split())[:LONGEST_NAME]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
