"""What fetching remembers: validators with their bodies, and when a host may be asked again"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fetched_body",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("last_modified", sa.Text(), nullable=True),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_fetched_body")),
    )
    op.create_index(op.f("ix_fetched_body_fetched_at"), "fetched_body", ["fetched_at"], unique=False)
    op.create_table(
        "fetch_host",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_fetch_host")),
    )


def downgrade() -> None:
    op.drop_table("fetch_host")
    op.drop_table("fetched_body")
