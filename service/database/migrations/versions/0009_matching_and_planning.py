"""Match rows without a foreign key, interests read from their index alone"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Checked once for each of a hundred thousand rows copied in, of an edition that a trigger keeps from going.
    op.drop_constraint(op.f("fk_match_edition_id"), "match", type_="foreignkey")
    op.drop_index("uq_interest_reader_id_query_id", "interest")
    op.create_index(
        "uq_interest_reader_id_query_id",
        "interest",
        ["reader_id", "query_id"],
        unique=True,
        postgresql_include=["muted"],
    )


def downgrade() -> None:
    op.drop_index("uq_interest_reader_id_query_id", "interest")
    op.create_index("uq_interest_reader_id_query_id", "interest", ["reader_id", "query_id"], unique=True)
    op.create_foreign_key(op.f("fk_match_edition_id"), "match", "edition", ["edition_id"], ["id"])
