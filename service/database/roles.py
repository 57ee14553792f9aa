"""Roles of PostgreSQL with least rights, from ``grants.sql`` beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from psycopg import ProgrammingError

from service.database.engine import Database, DatabaseError, raw

GRANTS: Final = Path(__file__).with_name("grants.sql")


def grant(database: Database) -> None:
    """Give ``paperround_web`` and ``paperround_worker`` their rights, and nothing else, in one transaction.

    Raises :class:`DatabaseError` where this user may not.
    """
    try:
        with database.connection() as connection:
            # Without parameters psycopg takes many statements at once, and a % for what it is.
            raw(connection).execute(GRANTS.read_bytes())
    except ProgrammingError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatabaseError(
            f"the rights cannot be granted ({reason}): run it as the owner of the tables, who may make roles"
        ) from error
