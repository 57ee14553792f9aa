"""Alembic's environment: runs on the connection it is handed (see ``service.database.migrations``)."""

from alembic import context

from service.database import months
from service.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=True,
    include_name=lambda name, kind, _: kind != "table" or not months.is_partition(name),
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
