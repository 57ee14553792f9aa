"""Lines of the audit log go once they are old, by one function and nothing else"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_audit_event_at", "audit_event", ["at"])
    # A line younger than ninety days is safe from everybody. Older ones only the owner of the tables may drop, and the
    # function below runs as the owner.
    op.execute("""
        CREATE OR REPLACE FUNCTION audit_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND OLD.at < now() - interval '90 days' THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'audit_event is append-only';
        END $$;
        CREATE FUNCTION shorten_audit_log(before timestamptz) RETURNS bigint
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            dropped bigint;
        BEGIN
            DELETE FROM audit_event WHERE at < before;
            GET DIAGNOSTICS dropped = ROW_COUNT;
            IF dropped > 0 THEN
                INSERT INTO audit_event (act, subject, detail)
                VALUES ('log shortened', '', format('lines before %s: %s',
                        to_char(before AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), dropped));
            END IF;
            RETURN dropped;
        END $$;
        REVOKE ALL ON FUNCTION shorten_audit_log(timestamptz) FROM PUBLIC;
    """)


def downgrade() -> None:
    op.execute("""
        DROP FUNCTION shorten_audit_log(timestamptz);
        CREATE OR REPLACE FUNCTION audit_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'audit_event is append-only';
        END $$;
    """)
    op.drop_index("ix_audit_event_at", "audit_event")
