"""One row that says when papers last changed, read by everybody who keeps what was made of them"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

WATCHED = ("paper", "paper_identifier", "coverage", "edition")


def upgrade() -> None:
    op.create_table(
        "paper_stamp",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("changed_by", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_paper_stamp_one")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_paper_stamp")),
    )
    op.execute("INSERT INTO paper_stamp (changed_by) VALUES (0)")
    # Once a transaction, whatever it writes. Who writes papers does so in turn: nobody waits here.
    op.execute("""
        CREATE FUNCTION papers_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            mine bigint := pg_current_xact_id()::text::bigint;
        BEGIN
            INSERT INTO paper_stamp (changed_by) VALUES (mine)
            ON CONFLICT (one) DO UPDATE SET changed_by = mine WHERE paper_stamp.changed_by <> mine;
            RETURN NULL;
        END $$;
    """)
    for table in WATCHED:
        op.execute(
            f"CREATE TRIGGER {table}_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION papers_changed()"
        )


def downgrade() -> None:
    for table in WATCHED:
        op.execute(f"DROP TRIGGER {table}_changed ON {table}")
    op.execute("DROP FUNCTION papers_changed()")
    op.drop_table("paper_stamp")
