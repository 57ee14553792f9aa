"""What comes back: return events, and suppressions that a fresh opt-in may try"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REASONS = "reason IN ('hard bounce', 'soft bounces', 'complaint', 'operator')"


def upgrade() -> None:
    op.create_table(
        "return_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=True),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), server_default="", nullable=False),
        sa.Column("diagnostic", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('hard bounce', 'soft bounce', 'refusal', 'complaint', 'unsubscribe', 'subscribe')",
            name=op.f("ck_return_event_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_return_event")),
        sa.UniqueConstraint("key", name=op.f("uq_return_event_key")),
    )
    op.create_index("ix_return_event_reader_id", "return_event", ["reader_id", "at"], unique=False)
    op.create_index("ix_return_event_kind", "return_event", ["kind", "at"], unique=False)
    op.create_index(
        "ix_return_event_address_hash",
        "return_event",
        ["address_hash"],
        unique=False,
        postgresql_where=sa.text("kind = 'soft bounce'"),
    )
    op.execute("""
        CREATE FUNCTION return_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'return_event is append-only';
        END $$;
        CREATE TRIGGER return_event_is_append_only BEFORE UPDATE OR DELETE ON return_event
        FOR EACH ROW EXECUTE FUNCTION return_event_is_append_only();
    """)
    op.add_column("suppression", sa.Column("trial_until", sa.DateTime(timezone=True), nullable=True))
    # Whatever an operator wrote by hand keeps barring the address.
    op.execute(
        f"UPDATE suppression SET detail = concat_ws(': ', reason, nullif(detail, '')), reason = 'operator' WHERE NOT {REASONS}"  # noqa: S608, E501 (a constant)
    )
    op.create_check_constraint(op.f("ck_suppression_reason"), "suppression", REASONS)


def downgrade() -> None:
    op.drop_constraint(op.f("ck_suppression_reason"), "suppression", type_="check")
    op.drop_column("suppression", "trial_until")
    op.drop_index(
        "ix_return_event_address_hash", table_name="return_event", postgresql_where=sa.text("kind = 'soft bounce'")
    )
    op.drop_index("ix_return_event_kind", table_name="return_event")
    op.drop_index("ix_return_event_reader_id", table_name="return_event")
    op.drop_table("return_event")
    op.execute("DROP FUNCTION return_event_is_append_only")
