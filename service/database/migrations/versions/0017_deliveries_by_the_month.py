"""Digests and deliveries by the month

The months' ids, partitions and functions are explained in docs/decisions/036-months.md. What is there stays where it
is: the old tables become the partition before the first month. While all of them are read for that nobody waits; for
the exchange itself readers and writers wait for some milliseconds.

The first month begins a month or two from now, so that processes of the version before, which give digests numbers
without a month, go on writing until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from psycopg.errors import LockNotAvailable

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_BITS = 38
_TRIES = 100
"""To get the locks, each for less than a second."""
_TABLES = ("digest", "delivery")
_INDEXES = sa.text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = :table")

_MONTH_ID = """
CREATE FUNCTION month_id(moment timestamptz, number bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ((extract(year FROM moment AT TIME ZONE 'UTC')::bigint - 2000) * 12
        + extract(month FROM moment AT TIME ZONE 'UTC')::bigint - 1) << 38 | number
$$
"""
# As the owner, for who may not make tables. What LIKE copies is what the parents have; what follows cannot be said of
# them, since a unique key of a partitioned table holds the partition key: in a month it is the same, for the slot's
# month is the id's. Attaching an empty table makes nobody wait who reads or writes.
_MAKE = """
CREATE FUNCTION make_month(month integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    begins CONSTANT timestamptz := make_timestamptz(2000 + month / 12, 1 + month % 12, 1, 0, 0, 0, 'UTC');
    ends CONSTANT timestamptz := make_timestamptz(2000 + (month + 1) / 12, 1 + (month + 1) % 12, 1, 0, 0, 0, 'UTC');
    name CONSTANT text := to_char(begins AT TIME ZONE 'UTC', 'YYYY_MM');
    parent text;
BEGIN
    IF month NOT BETWEEN 1 AND 1023 THEN
        RAISE EXCEPTION 'month % has no ids', month;
    END IF;
    PERFORM pg_advisory_xact_lock(7262052);
    IF EXISTS (
        SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'public.delivery'::regclass AND (relname = 'delivery_' || name
            OR relname LIKE 'delivery\\_before\\_%' AND relname > 'delivery_before_' || name)
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE public.digest_%s (LIKE public.digest INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE public.digest_%s ADD CONSTRAINT ck_digest_%s_slot CHECK (slot >= %L AND slot < %L)',
        name, name, begins, ends);
    EXECUTE format('CREATE UNIQUE INDEX uq_digest_%s_reader_id_slot ON public.digest_%s (reader_id, slot)',
        name, name);
    EXECUTE format('CREATE TABLE public.delivery_%s (LIKE public.delivery INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE public.delivery_%s ADD CONSTRAINT ck_delivery_%s_digest_id'
        ' CHECK (kind <> ''digest'' OR digest_id = id)', name, name);
    FOREACH parent IN ARRAY ARRAY['digest', 'delivery'] LOOP
        EXECUTE format('ALTER TABLE public.%s ATTACH PARTITION public.%s_%s FOR VALUES FROM (%s) TO (%s)',
            parent, parent, name, month::bigint << 38, (month + 1)::bigint << 38);
    END LOOP;
    RETURN true;
END $$
"""
# It looks before anybody has to wait, and once more when nobody can write.
_DROP = """
CREATE FUNCTION drop_month(name text, before timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    parts CONSTANT text[] := regexp_match(name, '^(before_)?([0-9]{4})_([0-9]{2})$');
    month CONSTANT integer := (parts[2]::integer - 2000) * 12 + parts[3]::integer - 1;
    beyond CONSTANT integer := CASE WHEN parts[1] IS NULL THEN month + 1 ELSE month END;
    lowest CONSTANT bigint := CASE WHEN parts[1] IS NULL THEN month::bigint << 38 ELSE 0 END;
    highest CONSTANT bigint := (beyond::bigint << 38) - 1;
    kept boolean;
BEGIN
    IF parts IS NULL OR to_regclass('public.delivery_' || name) IS NULL THEN
        RETURN false;
    END IF;
    IF make_timestamptz(2000 + beyond / 12, 1 + beyond % 12, 1, 0, 0, 0, 'UTC') > before THEN
        RETURN false;
    END IF;
    FOR turn IN 1..2 LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.delivery_%1$s WHERE state IN (''queued'', ''deferred''))'
            ' OR EXISTS (SELECT FROM public.delivery_%1$s WHERE state = ''sending'')'
            ' OR EXISTS (SELECT FROM public.delivery_%1$s WHERE state = ''uncertain'')'
            ' OR EXISTS (SELECT FROM public.delivery_%1$s WHERE settled_at >= $1)', name) INTO kept USING before;
        IF kept THEN
            RETURN false;
        END IF;
        IF turn = 1 THEN
            LOCK TABLE ONLY public.digest, ONLY public.delivery IN ACCESS EXCLUSIVE MODE;
        END IF;
    END LOOP;
    DELETE FROM public.letter WHERE delivery_id BETWEEN lowest AND highest;
    DELETE FROM public.carried_over WHERE digest_id BETWEEN lowest AND highest;
    EXECUTE format('DROP TABLE public.delivery_%s, public.digest_%s', name, name);
    RETURN true;
END $$
"""
# Their rights do not come along from the old tables. What they are is said in service/database/grants.sql.
_GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'paperround_worker')
        AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'paperround_web') THEN
        GRANT USAGE ON SEQUENCE mail_number TO paperround_web, paperround_worker;
        GRANT SELECT, INSERT, UPDATE, DELETE ON delivery, digest TO paperround_worker;
        GRANT SELECT, INSERT, UPDATE (state, reply, settled_at, due_at), DELETE ON delivery TO paperround_web;
        GRANT SELECT, DELETE ON digest TO paperround_web;
        GRANT SELECT (reader_id), DELETE ON carried_over TO paperround_web;
        GRANT EXECUTE ON FUNCTION make_month(integer), drop_month(text, timestamptz) TO paperround_worker;
    END IF;
END $$
"""


def upgrade() -> None:
    bind = op.get_bind()
    newest = bind.scalar(sa.text("SELECT greatest(now(), max(slot)) FROM digest"))
    first = _month_of(newest) + 2
    _read_through(first)
    _locked(first)
    for statement in (_MONTH_ID, _MAKE, _DROP):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION make_month(integer), drop_month(text, timestamptz) FROM PUBLIC")
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN id SET DEFAULT month_id(now(), nextval('mail_number'))")
    op.execute(_GRANTS)
    this = _month_of(datetime.now(UTC))
    for month in range(this, this + 3):
        op.execute(f"SELECT make_month({month})")


def _read_through(first: int) -> None:
    """Let PostgreSQL see, a row after the other, that all there is is before the first month. Nobody waits; a crash
    leaves constraints that hold anyway, and the next try begins anew."""
    begins = f"'{_beginning(first):%Y-%m-%d}T00:00:00Z'"
    ends = (("digest", "slot", begins), ("digest", "id", first << _BITS), ("delivery", "id", first << _BITS))
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '800ms'")
        for table, column, end in ends:
            name = f"ck_{table}_before_{column}"
            _patiently(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
            _patiently(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} < {end}) NOT VALID")
            _patiently(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        op.execute("RESET lock_timeout")


def _locked(first: int) -> None:
    """Exchange the tables as soon as nobody else holds them."""

    def exchange() -> None:
        with op.get_bind().begin_nested():
            op.execute("SET LOCAL lock_timeout = '800ms'")
            _exchange(first)

    _patiently(exchange)


def _patiently(act: Callable[[], None] | str) -> None:
    """Try until the locks are to be had. Whoever comes after us waits for us, so we wait for less than a second each
    time, which is also too short to be taken for a deadlock."""
    for attempt in range(_TRIES):
        try:
            if isinstance(act, str):
                op.execute(act)
            else:
                act()
            return
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable) or attempt == _TRIES - 1:
                raise
            time.sleep(0.3)


def _exchange(first: int) -> None:
    bind = op.get_bind()
    op.execute("LOCK TABLE digest, delivery IN ACCESS EXCLUSIVE MODE")
    op.execute("ALTER TABLE carried_over DROP CONSTRAINT fk_carried_over_digest_id")
    start = 1
    for table in _TABLES:
        # Waits for whoever has drawn a number and not yet used it.
        op.execute(f"ALTER SEQUENCE {table}_id_seq CACHE 1")
        drawn = sa.text(f"SELECT last_value + is_called::int FROM {table}_id_seq")  # noqa: S608 (our own names)
        start = max(start, bind.scalar(drawn))
    empty = bind.scalar(sa.text("SELECT NOT EXISTS (SELECT FROM digest) AND NOT EXISTS (SELECT FROM delivery)"))
    op.execute(f"CREATE SEQUENCE mail_number START {start} MAXVALUE {(1 << _BITS) - 1}")
    suffix = f"before_{_beginning(first):%Y_%m}"
    for table in _TABLES:
        old = f"{table}_{suffix}"
        indexes = bind.scalars(_INDEXES, {"table": table}).all()
        op.execute(f"ALTER TABLE {table} ALTER COLUMN id DROP IDENTITY")
        op.execute(f"ALTER TABLE {table} RENAME TO {old}")
        for index in indexes:
            op.execute(f"ALTER INDEX {index} RENAME TO {index.replace(table, old, 1)}")
        op.execute(
            f"CREATE TABLE {table} (LIKE {old} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id)"
        )
        for column in ("slot", "id"):
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_{table}_before_{column}")
        op.create_primary_key(f"pk_{table}", table, ["id"])
    # The version before draws the numbers of digests by this.
    op.execute("ALTER SEQUENCE mail_number OWNED BY digest.id")
    op.create_index("ix_digest_note_id", "digest", ["note_id"], postgresql_where=sa.text("note_id > 0"))
    for name, columns, where in (
        ("ix_delivery_due", ["priority", "due_at", "id"], "state IN ('queued', 'deferred')"),
        ("ix_delivery_leased", ["lease_until"], "state = 'sending'"),
        ("ix_delivery_reader_id", ["reader_id"], None),
        ("ix_delivery_uncertain", ["id"], "state = 'uncertain'"),
        ("ix_delivery_settled", ["settled_at", "state", "kind"], "settled_at IS NOT NULL"),
    ):
        op.create_index(name, "delivery", columns, postgresql_where=sa.text(where) if where else None)
    for table in _TABLES:
        old = f"{table}_{suffix}"
        if empty:
            op.execute(f"DROP TABLE {old}")
        else:
            op.execute(f"ALTER TABLE {table} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ({first << _BITS})")
            op.execute(f"ALTER TABLE {old} DROP CONSTRAINT ck_{table}_before_id")


def _month_of(moment: datetime) -> int:
    at = moment.astimezone(UTC)
    return (at.year - 2000) * 12 + at.month - 1


def _beginning(month: int) -> datetime:
    return datetime(2000 + month // 12, 1 + month % 12, 1, tzinfo=UTC)


def downgrade() -> None:
    op.execute("LOCK TABLE digest, delivery IN ACCESS EXCLUSIVE MODE")
    op.execute("ALTER SEQUENCE mail_number OWNED BY NONE")
    for table in _TABLES:
        op.execute(f"CREATE TABLE {table}_whole (LIKE {table} INCLUDING CONSTRAINTS)")
        op.execute(f"INSERT INTO {table}_whole SELECT * FROM {table}")  # noqa: S608 (our own names)
        op.execute(f"DROP TABLE {table}")
        op.execute(f"ALTER TABLE {table}_whole RENAME TO {table}")
        op.create_primary_key(f"pk_{table}", table, ["id"])
        op.execute(f"ALTER TABLE {table} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY")
        op.execute(f"SELECT setval('{table}_id_seq', (SELECT coalesce(max(id), 1) FROM {table}))")  # noqa: S608
    op.execute("DROP FUNCTION month_id(timestamptz, bigint), make_month(integer), drop_month(text, timestamptz)")
    op.execute("DROP SEQUENCE mail_number")
    op.create_index("uq_digest_reader_id_slot", "digest", ["reader_id", "slot"], unique=True)
    op.create_index("ix_digest_note_id", "digest", ["note_id"], postgresql_where=sa.text("note_id > 0"))
    for name, columns, where, unique in (
        ("ix_delivery_due", ["priority", "due_at", "id"], "state IN ('queued', 'deferred')", False),
        ("ix_delivery_leased", ["lease_until"], "state = 'sending'", False),
        ("uq_delivery_digest_id", ["digest_id"], "kind = 'digest'", True),
        ("ix_delivery_reader_id", ["reader_id"], None, False),
        ("ix_delivery_uncertain", ["id"], "state = 'uncertain'", False),
        ("ix_delivery_settled", ["settled_at", "state", "kind"], "settled_at IS NOT NULL", False),
    ):
        where_clause = sa.text(where) if where else None
        op.create_index(name, "delivery", columns, unique=unique, postgresql_where=where_clause)
    op.create_foreign_key(
        "fk_carried_over_digest_id", "carried_over", "digest", ["digest_id"], ["id"], ondelete="CASCADE"
    )
