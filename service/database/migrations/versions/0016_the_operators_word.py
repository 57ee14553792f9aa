"""Topics as operators say, notes of the editor's, digests sent again and test mails"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BEFORE = (
    "kind IN ('digest', 'confirm', 'welcome', 'sign-in', 'address-confirm', 'address-notice', 'goodbye',"
    " 'pause-ended', 'operator-link'{more})"
)
MORE = ", 'resend', 'test'"


def upgrade() -> None:
    op.create_table(
        "topic_edit",
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("retired", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("over", sa.LargeBinary(), nullable=True),
        sa.Column("edited_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_topic_edit")),
    )
    # Kept pages show topics too.
    op.execute(
        "CREATE TRIGGER topic_edit_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON topic_edit"
        " FOR EACH STATEMENT EXECUTE FUNCTION papers_changed()"
    )
    op.create_table(
        "editor_note",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=True),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("saved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(first_day IS NULL) = (last_day IS NULL) AND first_day <= last_day", name=op.f("ck_editor_note_days")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_editor_note")),
    )
    op.add_column("digest", sa.Column("note_id", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_digest_note_id", "digest", ["note_id"], postgresql_where=sa.text("note_id > 0"))
    op.create_index("ix_audit_event_subject", "audit_event", ["subject", "id"])
    op.create_index(
        "ix_reader_beginning", "reader", ["address_key"], postgresql_ops={"address_key": "text_pattern_ops"}
    )
    op.drop_constraint(op.f("ck_delivery_kind"), "delivery", type_="check")
    op.create_check_constraint(op.f("ck_delivery_kind"), "delivery", BEFORE.format(more=MORE))
    op.drop_index("uq_delivery_digest_id", "delivery")
    op.create_index(
        "uq_delivery_digest_id", "delivery", ["digest_id"], unique=True, postgresql_where=sa.text("kind = 'digest'")
    )


def downgrade() -> None:
    op.execute("DELETE FROM letter USING delivery WHERE delivery.id = letter.delivery_id AND kind = 'test'")
    op.execute("DELETE FROM delivery WHERE kind IN ('resend', 'test')")
    op.drop_index("uq_delivery_digest_id", "delivery")
    op.create_index(
        "uq_delivery_digest_id",
        "delivery",
        ["digest_id"],
        unique=True,
        postgresql_where=sa.text("digest_id IS NOT NULL"),
    )
    op.drop_constraint(op.f("ck_delivery_kind"), "delivery", type_="check")
    op.create_check_constraint(op.f("ck_delivery_kind"), "delivery", BEFORE.format(more=""))
    op.drop_index("ix_reader_beginning", "reader")
    op.drop_index("ix_audit_event_subject", "audit_event")
    op.drop_index("ix_digest_note_id", "digest")
    op.drop_column("digest", "note_id")
    op.drop_table("editor_note")
    op.drop_table("topic_edit")
