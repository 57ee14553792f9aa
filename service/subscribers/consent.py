"""The record of consent: who agreed to what, when, from where, with which wording (GDPR, Article 7(1)). Append-only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy.orm import Session

from service.database.tables import ConsentEvent
from service.translation import later

SUBSCRIBE_WORDING: Final = later(
    "I want a mail with new research papers on my topics. I can change my topics or unsubscribe in every mail."
)
"""Shown beside the subscribe button; what is shown is what is recorded. A change here is a new wording by itself."""
CONFIRM_WORDING: Final = later("Yes, send me my papers.")
UNSUBSCRIBE_WORDING: Final = later("Unsubscribe")
MOVE_WORDING: Final = later("Yes, send my papers here.")
LESS_WORDING: Final = later("Send me mails again, but less often.")
MAIL_WORDING: Final = "A mail to the subscribe address."
OPERATOR_WORDING: Final = "Entered by the operator, who holds the reader's consent."

_LONGEST_USER_AGENT = 300


class ConsentKind(StrEnum):
    """What was done to the consent of a reader."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    UNSUBSCRIBED = "unsubscribed"
    ENTERED = "entered"
    """Added as confirmed by an operator."""
    MOVED = "moved"
    """Confirmed at a new address."""
    RESUMED = "resumed"
    """Left, and asked for less a moment later."""
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Visit:
    """Where an act of a reader came from."""

    origin: str
    """The form, link or command."""
    ip: str | None = None
    user_agent: str | None = None


def record(
    session: Session, *, reader_id: int, address_hash: bytes, kind: ConsentKind, wording: str, visit: Visit
) -> None:
    """Append one event, in the caller's transaction: no change of consent without its record."""
    agent = visit.user_agent.replace("\x00", "")[:_LONGEST_USER_AGENT] if visit.user_agent else None
    event = ConsentEvent(
        reader_id=reader_id,
        address_hash=address_hash,
        kind=kind,
        wording=wording,
        origin=visit.origin,
        ip=visit.ip,
        user_agent=agent,
    )
    session.add(event)
    session.flush()
