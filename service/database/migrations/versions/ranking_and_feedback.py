"""Feedback, and papers that everybody talks about"""

import sqlalchemy as sa
from alembic import op

revision = "ranking"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("paper_id", sa.BigInteger(), nullable=False),
        sa.Column("liked", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_feedback_paper_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], name=op.f("fk_feedback_reader_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reader_id", "paper_id", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_paper_id"), "feedback", ["paper_id"])
    op.add_column("reader", sa.Column("trending", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.add_column(
        "digest",
        sa.Column("trending_ids", sa.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
    )
    # Matches are computed again where they are missing; the old ones do not say where a paper matched.
    op.execute("DELETE FROM match")
    op.drop_column("match", "scores")
    op.add_column("match", sa.Column("places", sa.ARRAY(sa.SmallInteger()), nullable=False))


def downgrade() -> None:
    op.execute("DELETE FROM match")
    op.drop_column("match", "places")
    op.add_column("match", sa.Column("scores", sa.ARRAY(sa.REAL()), nullable=False))
    op.drop_column("digest", "trending_ids")
    op.drop_column("reader", "trending")
    op.drop_table("feedback")
