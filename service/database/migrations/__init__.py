"""Schema migrations (Alembic), run from the program itself: no alembic.ini to find."""

from __future__ import annotations

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
    """Bring the schema to the newest revision, in one transaction; safe when several processes start at once."""
    with database.connection() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
        command.upgrade(configuration(connection), "head")


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
