"""The key of the hashes of addresses, sealed"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The row is made by the first process that has the secret: a migration has none.
    op.create_table(
        "hash_key",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_hash_key_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hash_key")),
    )


def downgrade() -> None:
    op.drop_table("hash_key")
