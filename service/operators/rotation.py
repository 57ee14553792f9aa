"""A change of PAPERROUND_SECRET: what is sealed under which secret, and all of it sealed anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database.tables import Operator
from service.operators import audit, second_factor
from service.operators.audit import Act
from service.operators.second_factor import SecondFactorError
from service.settings import Settings
from service.subscribers import hash_key


@dataclass(frozen=True, slots=True)
class Seals:
    """What is sealed under which secret: 0 is the one that signs, 1 the newest of the old ones, and so on."""

    hash_key: int | None
    """Of the key of suppressions; None where none has been made yet."""
    since: datetime | None
    """When that key was sealed."""
    apps: Counter[int]
    """How many operators' apps, by secret."""
    unopened: int
    """Apps under a secret that is not listed."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """What was sealed anew, and what cannot be."""

    hash_key: bool
    apps: int
    unopened: int


def state(session: Session, settings: Settings) -> Seals:
    """Raises SettingsError where no secret is the database's."""
    key = hash_key.stored(session, settings)
    apps: Counter[int] = Counter()
    unopened = 0
    for operator_id, stored in session.execute(_APPS):
        try:
            apps[second_factor.age(settings, operator_id, stored or b"")] += 1
        except SecondFactorError:
            unopened += 1
    return Seals(None if key is None else key.age, hash_key.sealed_at(session), apps, unopened)


def reseal(session: Session, settings: Settings) -> Resealed:
    """Seal everything under the secret that signs, in the caller's transaction. Processes that do not know that secret
    open none of it afterwards. Done twice, the second time finds nothing to do.

    Raises SettingsError where no secret is the database's.
    """
    moved = hash_key.reseal(session, settings)
    apps = unopened = 0
    for operator in session.scalars(select(Operator).where(Operator.totp_secret.is_not(None)).with_for_update()):
        try:
            anew = second_factor.resealed(settings, operator.id, operator.totp_secret or b"")
        except SecondFactorError:
            unopened += 1
            continue
        if anew is not None:
            operator.totp_secret = anew
            apps += 1
    session.flush()
    if moved or apps:
        audit.record(session, None, Act.RESEALED, "", f"apps: {apps}")
    return Resealed(moved, apps, unopened)


_APPS = select(Operator.id, Operator.totp_secret).where(Operator.totp_secret.is_not(None))
