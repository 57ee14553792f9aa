from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.database import Database, migrations, months
from service.database.tables import Base


def test_migrations_lead_to_exactly_the_declared_tables(database: Database) -> None:
    with database.connection() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or not months.is_partition(name),
            },
        )
        assert compare_metadata(context, Base.metadata) == []


def test_nothing_is_pending_after_an_upgrade_and_a_second_upgrade_changes_nothing(database: Database) -> None:
    assert migrations.pending(database) == []
    migrations.upgrade(database)
    assert migrations.pending(database) == []
