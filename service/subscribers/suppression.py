"""Addresses that must not be mailed, as keyed hashes: they outlive the reader.

How an address comes back:

- after bounces, when its owner subscribes anew: a day or more after the bounce a sign-up puts the suppression *on
  trial* for three days, for a confirmation mail. Confirming ends the suppression, another bounce the trial;
- after a complaint or an operator's entry, only when an operator lifts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Suppression, SuppressionReason

BOUNCED: Final = (SuppressionReason.HARD_BOUNCE, SuppressionReason.SOFT_BOUNCES)
"""Reasons that a fresh confirmed opt-in overcomes."""
TRIAL_AFTER: Final = timedelta(days=1)
TRIAL: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class SuppressionView:
    """A suppression as it stands."""

    address_hash: bytes
    reason: SuppressionReason
    detail: str
    at: datetime
    trial_until: datetime | None


def add(session: Session, address_hash: bytes, *, reason: str, detail: str = "") -> None:
    """Suppress an address. The first entry stays, but a trial ends, and a reason that only an operator can lift
    replaces one that a fresh opt-in could.

    Raises :class:`ValueError` for a reason that is none.
    """
    row = {"address_hash": address_hash, "reason": SuppressionReason(reason).value, "detail": detail}
    statement = insert(Suppression).values(row)
    new = statement.excluded
    graver = and_(Suppression.reason.in_(BOUNCED), new.reason.not_in(BOUNCED))
    bounced_again = Suppression.trial_until.is_not(None)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Suppression.address_hash],
            set_={"reason": new.reason, "detail": new.detail, "at": func.now(), "trial_until": None},
            where=or_(graver, and_(bounced_again, Suppression.reason.in_(BOUNCED))),
        )
    )


def contains(session: Session, address_hash: bytes) -> bool:
    """Whether this address must not be mailed."""
    return bool(among(session, [address_hash]))


def among(session: Session, address_hashes: Iterable[bytes]) -> set[bytes]:
    """Those of the hashes that are suppressed, and not on trial."""
    # One array, not a parameter each: lists of ten thousands are asked for.
    barred = or_(Suppression.trial_until.is_(None), Suppression.trial_until <= func.now())
    asked = Suppression.address_hash == func.any(list(address_hashes))
    return set(session.scalars(select(Suppression.address_hash).where(asked, barred)))


def try_again(session: Session, address_hash: bytes, *, now: datetime | None = None) -> bool:
    """Somebody subscribes with this address: may a confirmation be sent to it?

    True where it is not suppressed, or bounced a day ago or more; the latter is then on trial.
    """
    moment = now or datetime.now(UTC)
    session.execute(
        update(Suppression)
        .where(
            Suppression.address_hash == address_hash,
            Suppression.reason.in_(BOUNCED),
            Suppression.at <= moment - TRIAL_AFTER,
            or_(Suppression.trial_until.is_(None), Suppression.trial_until <= moment),
        )
        .values(trial_until=moment + TRIAL, at=moment)
    )
    return not contains(session, address_hash)


def passed(session: Session, address_hash: bytes) -> bool:
    """The owner confirmed: end a trial. False: the address is suppressed and not on trial."""
    session.execute(
        delete(Suppression).where(
            Suppression.address_hash == address_hash,
            Suppression.reason.in_(BOUNCED),
            Suppression.trial_until > func.now(),
        )
    )
    return not contains(session, address_hash)


def find(session: Session, address_hash: bytes) -> SuppressionView | None:
    """The suppression of this address, on trial or not; None where there is none."""
    row = session.get(Suppression, address_hash, populate_existing=True)
    return _view(row) if row else None


def listing(session: Session, *, limit: int = 1_000) -> list[SuppressionView]:
    """Newest first."""
    statement = select(Suppression).order_by(Suppression.at.desc(), Suppression.address_hash).limit(limit)
    return [_view(row) for row in session.scalars(statement)]


def count(session: Session) -> dict[SuppressionReason, int]:
    """Suppressions by reason."""
    found = session.execute(select(Suppression.reason, func.count()).group_by(Suppression.reason)).all()
    return {SuppressionReason(reason): number for reason, number in found}


def remove(session: Session, address_hash: bytes) -> bool:
    """Let an address be mailed again: an operator's decision. Whether it was suppressed."""
    return (
        session.execute(
            delete(Suppression).where(Suppression.address_hash == address_hash).returning(Suppression.address_hash)
        ).first()
        is not None
    )


def _view(row: Suppression) -> SuppressionView:
    return SuppressionView(row.address_hash, SuppressionReason(row.reason), row.detail, row.at, row.trial_until)
