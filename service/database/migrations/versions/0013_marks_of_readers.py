"""Papers that a reader has read, or put aside"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mark",
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("paper_id", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("read_at IS NOT NULL OR saved_at IS NOT NULL", name=op.f("ck_mark_says_something")),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_mark_paper_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], name=op.f("fk_mark_reader_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reader_id", "paper_id", name=op.f("pk_mark")),
    )
    op.create_index(op.f("ix_mark_paper_id"), "mark", ["paper_id"], unique=False)
    op.create_index(
        "ix_mark_saved",
        "mark",
        ["reader_id", "saved_at"],
        unique=False,
        postgresql_where=sa.text("saved_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("mark")
