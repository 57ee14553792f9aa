"""The key of the hashes of addresses: made once, kept sealed in the database, the same for ever.

Suppressions outlive readers, so their hashes can never be made anew; a rotation of PAPERROUND_SECRET must not touch
them. The key is that which hashes were made with before it was kept: derived from the secret of then.

A process that cannot open it does not belong to this database, and refuses to run: with another key it would find no
address suppressed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from service.database import Database, DatabaseError
from service.database.tables import ConsentEvent, HashKey, Reader, Suppression
from service.sealing import Opened, SealError, opened, sealed
from service.settings import Settings, SettingsError
from service.subscribers import addresses, suppression

_PURPOSE: Final = "address hash key"
_ROW: Final = 1
_LOOKED_AT: Final = 1_000
"""Consents, the newest first, by which the secret is known that hashes were made with."""
FOREIGN: Final = (
    "PAPERROUND_SECRET is not this database's: suppressed addresses could not be told from others. List the secret it"
    " was used with in PAPERROUND_OLD_SECRETS; if that one is lost, see `paperround secret give-up --help`"
)


def bind(database: Database, settings: Settings) -> None:
    """Let the settings know the key that this database's hashes are made with; the first time, it is put there.

    Raises :class:`SettingsError` where none of the secrets opens it, DatabaseError where the user may not read it.
    """
    try:
        with database.transaction() as session:
            key = stored(session, settings)
            if key is None:
                _make(session, settings, _made_with(session, settings))
                key = stored(session, settings)
    except ProgrammingError as error:
        raise DatabaseError(
            "the key of suppressions cannot be read: give roles their rights, `paperround migrate --grant`"
        ) from error
    if key is not None:
        settings.use_address_hash_key(key.content)


def stored(session: Session, settings: Settings) -> Opened | None:
    """The key; None where none has been made. Raises :class:`SettingsError`."""
    row = session.get(HashKey, _ROW)
    if row is None:
        return None
    try:
        return opened(settings, _PURPOSE, _PURPOSE, row.sealed)
    except SealError:
        raise SettingsError(FOREIGN) from None


def fits(session: Session, settings: Settings) -> bool:
    """Whether a process with these settings may run. Raises :class:`SettingsError` where it may not."""
    return stored(session, settings) is not None or bool(_made_with(session, settings))


def sealed_at(session: Session) -> datetime | None:
    """When it was sealed under the secret that it is under; None where none has been made."""
    row = session.get(HashKey, _ROW)
    return None if row is None else row.sealed_at


def reseal(session: Session, settings: Settings, *, now: datetime | None = None) -> bool:
    """Seal it under the secret that signs; whether it was under another. Raises :class:`SettingsError`."""
    session.execute(select(HashKey.id).with_for_update())
    key = stored(session, settings)
    row = session.get(HashKey, _ROW)
    if key is None or row is None or not key.age:
        return False
    row.sealed = sealed(settings, _PURPOSE, _PURPOSE, key.content)
    row.sealed_at = now or datetime.now(UTC)
    session.flush()
    return True


def give_up(session: Session, settings: Settings) -> tuple[int, int]:
    """After the loss of every secret that opens it: a new key. Returns how many suppressions there were, and of how
    many it is still known whose they are.

    A reader's newest consent holds the hash of their address, so their suppression is entered again. Those of addresses
    without a reader mean nothing any more.
    """
    session.execute(delete(HashKey))
    _make(session, settings, addresses.derived_hash_key(settings.signing_key))
    key = addresses.derived_hash_key(settings.signing_key)
    newest = select(func.max(ConsentEvent.id)).group_by(ConsentEvent.reader_id)
    known = (
        select(Reader.address_key, Suppression.reason, Suppression.detail)
        .join(ConsentEvent, ConsentEvent.reader_id == Reader.id)
        .join(Suppression, Suppression.address_hash == ConsentEvent.address_hash)
        .where(ConsentEvent.id.in_(newest))
    )
    before = session.scalar(select(func.count()).select_from(Suppression)) or 0
    found = session.execute(known).all()
    for address_key, reason, detail in found:
        suppression.add(session, addresses.hashed_by(key, address_key), reason=reason, detail=detail)
    return before, len(found)


def _make(session: Session, settings: Settings, key: bytes) -> None:
    row = {"id": _ROW, "sealed": sealed(settings, _PURPOSE, _PURPOSE, key), "sealed_at": datetime.now(UTC)}
    session.execute(insert(HashKey).values(row).on_conflict_do_nothing())


def _made_with(session: Session, settings: Settings) -> bytes:
    """The key of the hashes that are there: of the secret that fits what readers agreed to, else of the oldest."""
    candidates = [addresses.derived_hash_key(secret) for secret in settings.verifying_keys]
    newest = (
        select(Reader.address_key, ConsentEvent.address_hash)
        .join(Reader, Reader.id == ConsentEvent.reader_id)
        .order_by(ConsentEvent.id.desc())
        .limit(_LOOKED_AT)
    )
    evidence = session.execute(newest).all()
    for key in reversed(candidates):
        if any(addresses.hashed_by(key, address_key) == found for address_key, found in evidence):
            return key
    if evidence:
        raise SettingsError(FOREIGN)
    return candidates[0]
