"""How the dashboard reads: never for long, and never more than it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, text

from service.database import Database

_PATIENCE: Final = "5s"
"""For one statement, as for the measures; the database has mail to deliver."""


@contextmanager
def reading(database: Database) -> Iterator[Connection]:
    """A connection that only reads, all of it at one moment. Raises OperationalError where that takes too long."""
    with database.connection() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{_PATIENCE}'"))
        yield connection
