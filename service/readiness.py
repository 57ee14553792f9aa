"""Opening the database in a state fit for work: newest schema, catalogue in step."""

from __future__ import annotations

from service.database import Database, DatabaseError, migrations, months
from service.settings import Settings
from service.subscribers import hash_key
from service.subscribers.topics import catalogue


def open_ready(settings: Settings, *, own: bool = True) -> Database:
    """The database, checked.

    An owner in embedded mode migrates by itself; there is nobody else to do it. In production, and in processes that
    only join, a schema that lags is refused, since a migration is the operator's decision. So is a secret that is not
    this database's (``hash_key``).

    Raises :class:`DatabaseError` and :class:`SettingsError`, each one line with the remedy.
    """
    settings.check_production()
    database = Database.open(settings, own=own)
    try:
        if settings.embedded and own:
            prepare(database)
        elif waiting := migrations.pending(database):
            raise DatabaseError(
                f"the database lacks {len(waiting)} migration(s), next {waiting[0]}: run `paperround migrate`"
            )
        hash_key.bind(database, settings)
    except BaseException:
        database.close()
        raise
    return database


def prepare(database: Database) -> None:
    """Bring schema and topics to this version's, and make the months at hand; safe when several processes do it at
    once."""
    migrations.upgrade(database)
    months.make_ahead(database)
    catalogue.sync(database)
