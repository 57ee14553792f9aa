"""Preferences of readers, links that work once, changes of address, letters"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KINDS = "kind IN ('digest', 'confirm', 'welcome', 'sign-in'{more})"
MORE = ", 'address-confirm', 'address-notice', 'goodbye', 'pause-ended'"


def _index_interests(included: list[str]) -> None:
    """Make the index that planning reads alone anew."""
    op.drop_index("uq_interest_reader_id_query_id", "interest")
    op.create_index(
        "uq_interest_reader_id_query_id",
        "interest",
        ["reader_id", "query_id"],
        unique=True,
        postgresql_include=included,
    )


def upgrade() -> None:
    op.add_column("reader", sa.Column("cadence", sa.Text(), server_default="daily", nullable=False))
    op.add_column("reader", sa.Column("abstracts", sa.Text(), server_default="short", nullable=False))
    op.add_column("reader", sa.Column("plain_text", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("reader", sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reader", sa.Column("instant_after", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reader", sa.Column("session_epoch", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_reader_cadence"), "reader", "cadence IN ('daily', 'weekly')")
    op.create_check_constraint(op.f("ck_reader_abstracts"), "reader", "abstracts IN ('short', 'full')")
    op.create_check_constraint(
        op.f("ck_reader_weekly_is_one_day"), "reader", "cadence <> 'weekly' OR weekdays & (weekdays - 1) = 0"
    )
    op.create_index(
        "ix_reader_paused", "reader", ["paused_until"], postgresql_where=sa.text("paused_until IS NOT NULL")
    )
    op.add_column("interest", sa.Column("weight", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("interest", sa.Column("instant", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_check_constraint(op.f("ck_interest_weight"), "interest", "weight BETWEEN -1 AND 1")
    _index_interests(["muted", "weight"])
    op.create_index(
        "ix_interest_instant",
        "interest",
        ["reader_id", "query_id"],
        postgresql_where=sa.text("instant AND NOT muted"),
    )
    op.create_table(
        "used_link",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_used_link")),
    )
    op.create_table(
        "address_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["reader_id"], ["reader.id"], name=op.f("fk_address_change_reader_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_change")),
        sa.UniqueConstraint("reader_id", name=op.f("uq_address_change_reader_id")),
    )
    op.create_table(
        "letter",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("plain_text", sa.Boolean(), nullable=False),
        sa.Column("facts", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_letter")),
    )
    op.drop_constraint(op.f("ck_delivery_kind"), "delivery", type_="check")
    op.create_check_constraint(op.f("ck_delivery_kind"), "delivery", KINDS.format(more=MORE))


def downgrade() -> None:
    op.execute("DELETE FROM delivery WHERE NOT " + KINDS.format(more=""))  # noqa: S608 (constants of this module)
    op.drop_constraint(op.f("ck_delivery_kind"), "delivery", type_="check")
    op.create_check_constraint(op.f("ck_delivery_kind"), "delivery", KINDS.format(more=""))
    op.drop_table("letter")
    op.drop_table("address_change")
    op.drop_table("used_link")
    op.drop_index("ix_interest_instant", table_name="interest", postgresql_where=sa.text("instant AND NOT muted"))
    op.drop_constraint(op.f("ck_interest_weight"), "interest", type_="check")
    _index_interests(["muted"])
    op.drop_column("interest", "instant")
    op.drop_column("interest", "weight")
    op.drop_index("ix_reader_paused", table_name="reader", postgresql_where=sa.text("paused_until IS NOT NULL"))
    for name in ("weekly_is_one_day", "abstracts", "cadence"):
        op.drop_constraint(op.f(f"ck_reader_{name}"), "reader", type_="check")
    for column in ("session_epoch", "instant_after", "paused_until", "plain_text", "abstracts", "cadence"):
        op.drop_column("reader", column)
