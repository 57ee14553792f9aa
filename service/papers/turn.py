"""Whoever writes papers takes turns: ingests with each other, and with the cutter of editions."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

# Any number of its own.
_TURN: Final = 7_262_053


def take(session: Session) -> None:
    """Wait for our turn and keep it until the transaction ends, however it ends.

    One turn for all of them: what an ingest merges can then not be cut meanwhile, and no two can wait for each
    other's rows. It is held for one batch, or one cut: well under a second.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
