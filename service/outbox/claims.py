"""What the sender is handed, and what it reports back. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from service.database.tables import DeliveryKind, DeliveryState


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery leased to this sender."""

    delivery_id: int
    kind: DeliveryKind
    reader_id: int
    digest_id: int | None
    message_id: str
    """Without angle brackets."""
    attempts: int
    """Tries before this one."""
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try ended."""

    delivery_id: int
    state: DeliveryState
    """SENT, DEFERRED, FAILED, CANCELLED or UNCERTAIN."""
    reply: str
    """The relay's last word, or the reason; one line."""
    retry_at: datetime | None = None
    """With DEFERRED: not before."""
    carried_over: bool = False
    """With FAILED: nobody has it and nobody is to blame, so what was in it comes with the reader's next digest."""
