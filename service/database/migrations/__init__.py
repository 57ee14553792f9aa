"""Schema migrations (Alembic), run from the program itself: no alembic.ini to find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from service.database.engine import Database

# Any number; the same for every process that migrates, so that two starting at once take turns.
_TURN = 7_262_051


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision; safe when several processes start at once.

    Each migration is a transaction, but for what says that it must not be in one. A crash: the next call goes on with
    the migration in which it came.
    """
    with database.engine.connect() as connection, _turn(connection):
        command.upgrade(configuration(connection), "head")


@contextmanager
def _turn(connection: Connection) -> Iterator[None]:
    """The lock is asked for again and again, not waited for: an index is made CONCURRENTLY only when every statement
    that began before has ended, and so one that waits for the turn of who makes it would wait for ever."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:turn)"), {"turn": _TURN}):
        connection.rollback()
        time.sleep(0.2)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:turn)"), {"turn": _TURN})
        connection.commit()


def pending(database: Database) -> list[str]:
    """Revisions that the database lacks, oldest first.

    None where it is at a revision that only a newer version knows: while that is brought out, this one goes on working
    (docs/upgrading.md).
    """
    with database.connection() as connection:
        script = ScriptDirectory.from_config(configuration(connection))
        at = current(connection)
        if at and not known(at):
            return []
        revisions = script.iterate_revisions("head", at or "base")
        return [revision.revision for revision in revisions][::-1]


def current(connection: Connection) -> str:
    """The revision that the database is at; empty for one without our schema."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def known(revision: str) -> bool:
    """Whether this version has, or has outgrown, a revision."""
    script = ScriptDirectory(str(Path(__file__).parent))
    return revision in {each.revision for each in script.walk_revisions()}


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
