"""The first schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "consent_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wording", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("ip", postgresql.INET(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_event")),
    )
    op.create_index(op.f("ix_consent_event_reader_id"), "consent_event", ["reader_id"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("digest_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('digest', 'confirm', 'welcome', 'sign-in')", name=op.f("ck_delivery_kind")),
        sa.CheckConstraint(
            "state IN ('queued', 'sending', 'sent', 'deferred', 'failed', 'cancelled', 'uncertain')",
            name=op.f("ck_delivery_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["priority", "due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'deferred')"),
    )
    op.create_index(
        "ix_delivery_leased",
        "delivery",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("ix_delivery_reader_id", "delivery", ["reader_id"], unique=False)
    op.create_index(
        "uq_delivery_digest_id",
        "delivery",
        ["digest_id"],
        unique=True,
        postgresql_where=sa.text("digest_id IS NOT NULL"),
    )
    op.create_table(
        "digest",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_edition_id", sa.Integer(), nullable=False),
        sa.Column("last_edition_id", sa.Integer(), nullable=False),
        sa.Column("paper_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("reason_papers", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("reason_queries", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("matched", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_digest")),
    )
    op.create_index("uq_digest_reader_id_slot", "digest", ["reader_id", "slot"], unique=True)
    op.create_table(
        "edition",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cut_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("paper_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edition")),
    )
    op.create_table(
        "ingest",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingest")),
    )
    op.create_index("ix_ingest_source", "ingest", ["source", "started_at"], unique=False)
    op.create_table(
        "query",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_query")),
        sa.UniqueConstraint("digest", name=op.f("uq_query_digest")),
    )
    op.create_table(
        "reader",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("digest_hour", sa.SmallInteger(), server_default="7", nullable=False),
        sa.Column("weekdays", sa.SmallInteger(), server_default="127", nullable=False),
        sa.Column("paper_limit", sa.SmallInteger(), nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_digest_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_edition_id", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("state <> 'active' OR next_digest_at IS NOT NULL", name=op.f("ck_reader_active_has_slot")),
        sa.CheckConstraint("state IN ('pending', 'active', 'unsubscribed')", name=op.f("ck_reader_state")),
        sa.CheckConstraint("digest_hour BETWEEN 0 AND 23", name=op.f("ck_reader_digest_hour")),
        sa.CheckConstraint("paper_limit BETWEEN 1 AND 50", name=op.f("ck_reader_paper_limit")),
        sa.CheckConstraint("weekdays BETWEEN 1 AND 127", name=op.f("ck_reader_weekdays")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader")),
        sa.UniqueConstraint("address_key", name=op.f("uq_reader_address_key")),
    )
    op.create_index(
        "ix_reader_due",
        "reader",
        ["next_digest_at"],
        unique=False,
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "suppression",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_suppression")),
    )
    op.create_table(
        "ingest_problem",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("ingest_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ingest_id"], ["ingest.id"], name=op.f("fk_ingest_problem_ingest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingest_problem")),
    )
    op.create_index(op.f("ix_ingest_problem_ingest_id"), "ingest_problem", ["ingest_id"], unique=False)
    op.create_table(
        "match",
        sa.Column("edition_id", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("paper_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("scores", sa.ARRAY(sa.REAL()), nullable=False),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name=op.f("fk_match_edition_id")),
        sa.PrimaryKeyConstraint("edition_id", "query_id", name=op.f("pk_match")),
    )
    op.create_table(
        "paper",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("abstract", sa.Text(), server_default="", nullable=False),
        sa.Column("tldr", sa.Text(), nullable=True),
        sa.Column("authors", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("author_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("organization", sa.Text(), nullable=True),
        sa.Column("categories", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("keywords", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("published_on", sa.Date(), nullable=True),
        sa.Column("listed_on", sa.Date(), nullable=False),
        sa.Column("featured_on", sa.Date(), nullable=True),
        sa.Column("upvotes", sa.Integer(), nullable=True),
        sa.Column("comments", sa.Integer(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("pdf_url", sa.Text(), nullable=True),
        sa.Column("code_url", sa.Text(), nullable=True),
        sa.Column("project_url", sa.Text(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("title_key", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("edition_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name=op.f("fk_paper_edition_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper")),
    )
    op.create_index("ix_paper_edition_id", "paper", ["edition_id"], unique=False)
    op.create_index("ix_paper_listed_on", "paper", ["listed_on", "id"], unique=False)
    op.create_index("ix_paper_title_key", "paper", ["title_key"], unique=False, postgresql_using="hash")
    op.create_index("ix_paper_unedited", "paper", ["id"], unique=False, postgresql_where=sa.text("edition_id IS NULL"))
    op.create_index("ix_paper_updated_at", "paper", ["updated_at", "id"], unique=False)
    op.create_table(
        "topic",
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("retired", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_topic_query_id")),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_topic")),
    )
    op.create_index(op.f("ix_topic_query_id"), "topic", ["query_id"], unique=False)
    op.create_table(
        "interest",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("reader_id", sa.BigInteger(), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("topic_slug", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("muted", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_interest_query_id")),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], name=op.f("fk_interest_reader_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["topic_slug"], ["topic.slug"], name=op.f("fk_interest_topic_slug")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interest")),
    )
    op.create_index(op.f("ix_interest_query_id"), "interest", ["query_id"], unique=False)
    op.create_index(op.f("ix_interest_topic_slug"), "interest", ["topic_slug"], unique=False)
    op.create_index("uq_interest_reader_id_query_id", "interest", ["reader_id", "query_id"], unique=True)
    op.create_table(
        "paper_identifier",
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("paper_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["paper_id"], ["paper.id"], name=op.f("fk_paper_identifier_paper_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scheme", "value", name=op.f("pk_paper_identifier")),
    )
    op.create_index(op.f("ix_paper_identifier_paper_id"), "paper_identifier", ["paper_id"], unique=False)
    op.create_table(
        "sighting",
        sa.Column("paper_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("listed_on", sa.Date(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_sighting_paper_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "source", name=op.f("pk_sighting")),
    )
    op.execute("""
        CREATE FUNCTION consent_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'consent_event is append-only';
        END $$;
        CREATE TRIGGER consent_event_is_append_only BEFORE UPDATE OR DELETE ON consent_event
        FOR EACH ROW EXECUTE FUNCTION consent_event_is_append_only();
    """)


def downgrade() -> None:
    op.drop_table("sighting")
    op.drop_index(op.f("ix_paper_identifier_paper_id"), table_name="paper_identifier")
    op.drop_table("paper_identifier")
    op.drop_index("uq_interest_reader_id_query_id", table_name="interest")
    op.drop_index(op.f("ix_interest_topic_slug"), table_name="interest")
    op.drop_index(op.f("ix_interest_query_id"), table_name="interest")
    op.drop_table("interest")
    op.drop_index(op.f("ix_topic_query_id"), table_name="topic")
    op.drop_table("topic")
    op.drop_index("ix_paper_updated_at", table_name="paper")
    op.drop_index("ix_paper_unedited", table_name="paper", postgresql_where=sa.text("edition_id IS NULL"))
    op.drop_index("ix_paper_title_key", table_name="paper", postgresql_using="hash")
    op.drop_index("ix_paper_listed_on", table_name="paper")
    op.drop_index("ix_paper_edition_id", table_name="paper")
    op.drop_table("paper")
    op.drop_table("match")
    op.drop_index(op.f("ix_ingest_problem_ingest_id"), table_name="ingest_problem")
    op.drop_table("ingest_problem")
    op.drop_table("suppression")
    op.drop_index("ix_reader_due", table_name="reader", postgresql_where=sa.text("state = 'active'"))
    op.drop_table("reader")
    op.drop_table("query")
    op.drop_index("ix_ingest_source", table_name="ingest")
    op.drop_table("ingest")
    op.drop_table("edition")
    op.drop_index("uq_digest_reader_id_slot", table_name="digest")
    op.drop_table("digest")
    op.drop_index("uq_delivery_digest_id", table_name="delivery", postgresql_where=sa.text("digest_id IS NOT NULL"))
    op.drop_index("ix_delivery_reader_id", table_name="delivery")
    op.drop_index("ix_delivery_leased", table_name="delivery", postgresql_where=sa.text("state = 'sending'"))
    op.drop_index("ix_delivery_due", table_name="delivery", postgresql_where=sa.text("state IN ('queued', 'deferred')"))
    op.drop_table("delivery")
    op.drop_index(op.f("ix_consent_event_reader_id"), table_name="consent_event")
    op.drop_table("consent_event")
    op.execute("DROP FUNCTION consent_event_is_append_only")
