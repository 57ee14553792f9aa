"""Addresses that must not be mailed, as keyed hashes: they outlive the reader."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Suppression


def add(session: Session, address_hash: bytes, *, reason: str, detail: str = "") -> None:
    """Suppress an address; the first reason stays."""
    row = {"address_hash": address_hash, "reason": reason, "detail": detail}
    session.execute(insert(Suppression).values(row).on_conflict_do_nothing())


def contains(session: Session, address_hash: bytes) -> bool:
    return bool(among(session, [address_hash]))


def among(session: Session, address_hashes: Iterable[bytes]) -> set[bytes]:
    """Those of the hashes that are suppressed."""
    # One array, not a parameter each: lists of ten thousands are asked for.
    asked = Suppression.address_hash == func.any(list(address_hashes))
    return set(session.scalars(select(Suppression.address_hash).where(asked)))


def remove(session: Session, address_hash: bytes) -> None:
    """Let an address be mailed again: an operator's decision."""
    session.execute(delete(Suppression).where(Suppression.address_hash == address_hash))
