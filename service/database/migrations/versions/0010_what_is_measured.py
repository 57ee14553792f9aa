"""Runs of tasks, and indexes for what is measured"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "task_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.REAL(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_run")),
    )
    op.create_index("ix_task_run_task", "task_run", ["task", "finished_at"], unique=False)
    op.create_index(
        "ix_delivery_settled",
        "delivery",
        ["settled_at", "state", "kind"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    op.create_index(
        "ix_reader_waiting", "reader", ["state"], unique=False, postgresql_where=sa.text("state <> 'active'")
    )


def downgrade() -> None:
    op.drop_index("ix_reader_waiting", table_name="reader")
    op.drop_index("ix_delivery_settled", table_name="delivery")
    op.drop_table("task_run")
