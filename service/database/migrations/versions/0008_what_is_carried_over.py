"""What is carried over to the next digest, the pause of sending, and answers that never came"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("unanswered", sa.SmallInteger(), server_default="0", nullable=False))
    op.create_table(
        "carried_over",
        sa.Column("digest_id", sa.BigInteger(), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["digest.id"], name=op.f("fk_carried_over_digest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest_id", name=op.f("pk_carried_over")),
    )
    op.create_index(op.f("ix_carried_over_reader_id"), "carried_over", ["reader_id"], unique=False)
    op.create_table(
        "sending_pause",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_sending_pause_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sending_pause")),
    )


def downgrade() -> None:
    op.drop_table("sending_pause")
    op.drop_index(op.f("ix_carried_over_reader_id"), table_name="carried_over")
    op.drop_table("carried_over")
    op.drop_column("delivery", "unanswered")
