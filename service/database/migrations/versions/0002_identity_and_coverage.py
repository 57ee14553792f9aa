"""Identity with its confidence, versions, merged papers; coverage of sources; editions that cannot change"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MEANS = "means IN ('stated', 'beside', 'title')"


def upgrade() -> None:
    op.add_column("paper", sa.Column("version", sa.Integer(), nullable=True))
    op.add_column("paper", sa.Column("featured_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("paper", sa.Column("original_title", sa.Text(), nullable=True))
    op.add_column("paper", sa.Column("original_abstract", sa.Text(), nullable=True))
    op.execute("UPDATE paper SET featured_at = first_seen_at WHERE featured_on IS NOT NULL")
    op.create_index(
        "ix_paper_featured_at",
        "paper",
        ["featured_at"],
        unique=False,
        postgresql_where=sa.text("featured_at IS NOT NULL"),
    )

    op.add_column("paper_identifier", sa.Column("means", sa.Text(), server_default="stated", nullable=False))
    op.add_column("paper_identifier", sa.Column("confidence", sa.REAL(), server_default="1", nullable=False))
    op.add_column("paper_identifier", sa.Column("source", sa.Text(), nullable=True))
    op.add_column(
        "paper_identifier",
        sa.Column("told_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_check_constraint(op.f("ck_paper_identifier_means"), "paper_identifier", _MEANS)
    op.create_check_constraint(op.f("ck_paper_identifier_confidence"), "paper_identifier", "confidence BETWEEN 0 AND 1")

    op.create_table(
        "paper_alias",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("paper_id", sa.BigInteger(), nullable=False),
        sa.Column("edition_id", sa.Integer(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("means", sa.Text(), nullable=False),
        sa.Column("confidence", sa.REAL(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(_MEANS, name=op.f("ck_paper_alias_means")),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_paper_alias_paper_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_alias")),
    )
    op.create_index(op.f("ix_paper_alias_paper_id"), "paper_alias", ["paper_id"], unique=False)
    op.create_table(
        "paper_version",
        sa.Column("paper_id", sa.BigInteger(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("listed_on", sa.Date(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_paper_version_paper_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "scheme", "version", name=op.f("pk_paper_version")),
    )
    op.create_table(
        "coverage",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("taken", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'failed', 'partial', 'empty', 'complete')", name=op.f("ck_coverage_state")
        ),
        sa.PrimaryKeyConstraint("source", "day", name=op.f("pk_coverage")),
    )
    op.create_index("ix_coverage_day", "coverage", ["day"], unique=False)

    op.execute("""
        CREATE FUNCTION edition_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'edition % is immutable', OLD.id;
        END $$;
        CREATE TRIGGER edition_is_immutable BEFORE UPDATE OR DELETE ON edition
        FOR EACH ROW EXECUTE FUNCTION edition_is_immutable();

        CREATE FUNCTION paper_keeps_its_edition() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'paper % is in edition %, and editions are immutable', OLD.id, OLD.edition_id;
        END $$;
        CREATE TRIGGER paper_keeps_its_edition BEFORE UPDATE OF edition_id ON paper
        FOR EACH ROW WHEN (OLD.edition_id IS NOT NULL AND NEW.edition_id IS DISTINCT FROM OLD.edition_id)
        EXECUTE FUNCTION paper_keeps_its_edition();

        CREATE FUNCTION edition_is_closed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- A row that this transaction wrote carries its number; anybody else's edition is closed.
            IF EXISTS (
                SELECT FROM edition
                WHERE id = NEW.edition_id AND xmin <> pg_current_xact_id()::xid
            ) THEN
                RAISE EXCEPTION 'edition % is closed: papers join an edition only when it is cut', NEW.edition_id;
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER edition_is_closed BEFORE UPDATE OF edition_id ON paper
        FOR EACH ROW WHEN (OLD.edition_id IS NULL AND NEW.edition_id IS NOT NULL)
        EXECUTE FUNCTION edition_is_closed();
    """)


def downgrade() -> None:
    op.execute("""
        DROP TRIGGER edition_is_closed ON paper;
        DROP TRIGGER paper_keeps_its_edition ON paper;
        DROP TRIGGER edition_is_immutable ON edition;
        DROP FUNCTION edition_is_closed();
        DROP FUNCTION paper_keeps_its_edition();
        DROP FUNCTION edition_is_immutable();
    """)
    op.drop_table("coverage")
    op.drop_table("paper_version")
    op.drop_table("paper_alias")
    for constraint in ("confidence", "means"):
        op.drop_constraint(op.f(f"ck_paper_identifier_{constraint}"), "paper_identifier", type_="check")
    for column in ("told_at", "source", "confidence", "means"):
        op.drop_column("paper_identifier", column)
    op.drop_index("ix_paper_featured_at", table_name="paper")
    for column in ("original_abstract", "original_title", "featured_at", "version"):
        op.drop_column("paper", column)
