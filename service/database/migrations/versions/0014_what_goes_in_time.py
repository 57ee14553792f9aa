"""What goes in time: coarse visits in consent events; claims read their rows in order

The claim orders by (priority, due_at, id). Without the id in its index, all rows of one moment had to be sorted for
every batch: a round of the full hour has one moment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ANEW = "ix_delivery_due_anew"
WAITING = "state IN ('queued', 'deferred')"


def upgrade() -> None:
    # Nobody who puts deliveries in waits for that. A crash on the way: the next try clears away what it left.
    with op.get_context().autocommit_block():
        op.drop_index(ANEW, table_name="delivery", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            ANEW,
            "delivery",
            ["priority", "due_at", "id"],
            postgresql_where=sa.text(WAITING),
            postgresql_concurrently=True,
        )
        op.drop_index("ix_delivery_due", table_name="delivery", if_exists=True, postgresql_concurrently=True)
        op.execute(f"ALTER INDEX {ANEW} RENAME TO ix_delivery_due")
    op.create_index(
        "ix_consent_event_traced",
        "consent_event",
        ["at"],
        postgresql_where=sa.text("user_agent IS NOT NULL OR masklen(ip) IN (32, 128)"),
    )
    op.execute("""
        CREATE OR REPLACE FUNCTION consent_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                -- Only from where it came may become coarser, in time.
                IF NEW.user_agent IS NULL AND NEW.ip >>= OLD.ip IS NOT FALSE
                    AND (NEW.ip IS NULL) = (OLD.ip IS NULL)
                    AND (NEW.id, NEW.reader_id, NEW.address_hash, NEW.kind, NEW.wording, NEW.origin, NEW.at)
                        = (OLD.id, OLD.reader_id, OLD.address_hash, OLD.kind, OLD.wording, OLD.origin, OLD.at)
                THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'consent_event is append-only';
        END $$;
    """)


def downgrade() -> None:
    op.execute("""
        CREATE OR REPLACE FUNCTION consent_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'consent_event is append-only';
        END $$;
    """)
    op.drop_index("ix_consent_event_traced", table_name="consent_event")
    op.drop_index("ix_delivery_due", table_name="delivery")
    op.create_index("ix_delivery_due", "delivery", ["priority", "due_at"], postgresql_where=sa.text(WAITING))
