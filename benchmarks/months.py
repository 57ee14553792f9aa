"""Deliveries by the month beside one table of them, as it was before (decision 036).

    python -m benchmarks.months --json

Two databases on one embedded server: one at migration 0016 with the statements of then, one at the newest with those of
today. Each holds 300,000 settled deliveries with their digests over eleven months, and 100,000 due ones; the newest in
fourteen months. The two take turns batch by batch, so that whatever else the machine does meets both alike. Told are
medians in milliseconds, and how many times longer the months take: for claiming and settling 500, for copying 100,000
digests and deliveries in, and for what else asks over all months.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from alembic import command
from numpy.typing import NDArray
from sqlalchemy import TextClause, create_engine, make_url, text

from service import measures
from service.database import Database, bulk, migrations, months
from service.database.embedded import EmbeddedPostgres
from service.database.engine import raw
from service.delivery import recheck
from service.digests import plan
from service.outbox import letters, rows
from service.overview import today

SETTLED, DUE, BATCH, BATCHES, COPIES = 300_000, 100_000, 500, 60, 5

ONE_CLAIM = text("""
    UPDATE delivery SET state = 'sending', lease_owner = :owner, lease_until = :until, attempts = attempts + 1
    WHERE id IN (
        SELECT id FROM delivery
        WHERE state IN ('queued', 'deferred') AND due_at <= :now AND (deadline IS NULL OR deadline > :now)
            AND priority <= (SELECT CASE WHEN EXISTS (SELECT FROM digest_pause) THEN 4 ELSE 9 END)
        ORDER BY priority, due_at, id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, kind, reader_id, digest_id, message_id, attempts, deadline, priority, due_at
""")
ONE_SETTLE = text("""
    WITH settled AS (UPDATE delivery SET
        state = outcome.state, reply = outcome.reply, lease_owner = NULL, lease_until = NULL,
        due_at = coalesce(outcome.retry_at, due_at),
        attempts = attempts - (outcome.state = 'queued')::int,
        unanswered = unanswered + (outcome.state = 'uncertain')::int,
        settled_at = CASE WHEN outcome.state IN ('sent', 'failed', 'cancelled', 'uncertain') THEN :now END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:replies AS text[]),
                CAST(:retries AS timestamptz[]), CAST(:carried AS boolean[]))
        AS outcome (id, state, reply, retry_at, carried)
    WHERE delivery.id = outcome.id AND (
        (delivery.state = 'sending' AND delivery.lease_owner = :owner)
        OR (outcome.state = 'sent' AND delivery.state <> 'sent')
    ) RETURNING delivery.digest_id,
        outcome.carried AND delivery.unanswered = 0 AND delivery.kind = 'digest' AS carried
    ), carried AS (
        INSERT INTO carried_over (digest_id, reader_id)
        SELECT digest.id, digest.reader_id FROM settled JOIN digest ON digest.id = settled.digest_id
        WHERE settled.carried
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM settled
""")
ONE_DELIVERIES = plan.DELIVERIES.replace("(id, reader_id", "(reader_id")

DIGESTS = """
    INSERT INTO digest (id, reader_id, slot, first_edition_id, last_edition_id, matched, paper_ids, reason_papers,
        reason_queries)
    SELECT {id}, n, slot, 1, 1, 12, array_agg, array_agg, array_agg
    FROM (SELECT n, now() - interval '1 minute' - least(n / {daily}, {oldest}) * interval '1 day' AS slot,
        (SELECT array_agg(each) FROM generate_series(1, 12) AS each) FROM generate_series({first}, {last}) AS n) AS made
"""
DELIVERIES = """
    INSERT INTO delivery ({columns} kind, priority, reader_id, digest_id, message_id, state, due_at, deadline, attempts,
        settled_at, reply)
    SELECT {values} 'digest', 5, reader_id, id, md5(id::text) || '@papers.example', '{state}', slot,
        slot + interval '20 hours', {attempts}, {settled}, {reply} FROM digest
    WHERE id NOT IN (SELECT digest_id FROM delivery)
"""


def fill(database: Database, *, by_month: bool) -> None:
    """The past first, then what is due."""
    number = "month_id(slot, nextval('mail_number'))" if by_month else "nextval('digest_id_seq')"
    columns, values = ("id,", "id,") if by_month else ("", "")
    past = {"id": number, "daily": SETTLED // 330, "oldest": 330, "first": SETTLED // 330, "last": SETTLED}
    due = {"id": number, "daily": 10**9, "oldest": 0, "first": SETTLED + 1, "last": SETTLED + DUE}
    settled = {"state": "sent", "attempts": 1, "settled": "slot", "reply": "'250 2.0.0 Ok: queued as 4F2A'"}
    waiting = {"state": "queued", "attempts": 0, "settled": "NULL", "reply": "NULL"}
    with database.connection() as connection:
        if by_month:
            this = months.month_of(datetime.now(UTC))
            for month in range(this - 11, this + 3):
                connection.execute(text("SELECT make_month(:month)"), {"month": month})
        for digests, deliveries in ((past, settled), (due, waiting)):
            connection.execute(text(DIGESTS.format(**digests)))
            connection.execute(text(DELIVERIES.format(columns=columns, values=values, **deliveries)))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


class Side:
    """One of the two."""

    def __init__(self, database: Database, *, by_month: bool) -> None:
        self.database, self.by_month = database, by_month
        self.held: list[int] = []
        self.reader = 10**7

    def claim(self) -> None:
        now = datetime.now(UTC)
        values = {"owner": "me", "until": now + timedelta(hours=1), "now": now, "limit": BATCH}
        found = self._asked(rows.CLAIM if self.by_month else ONE_CLAIM, values)
        self.held = sorted(row[0] for row in found)
        assert len(self.held) == BATCH

    def recheck(self) -> None:
        values = {"ids": self.held, "owner": "me", "first": self.held[0], "last": self.held[-1]}
        assert len(self._asked(recheck.STILL_OURS, values)) == BATCH

    def settle(self) -> None:
        values = {
            "owner": "me",
            "now": datetime.now(UTC),
            "ids": self.held,
            "states": ["sent"] * BATCH,
            "replies": ["250 2.0.0 Ok: queued as 4F2A"] * BATCH,
            "retries": [None] * BATCH,
            "carried": [False] * BATCH,
            "first": self.held[0],
            "last": self.held[-1],
        }
        assert self._asked(rows.SETTLE if self.by_month else ONE_SETTLE, values)[0][0] == BATCH

    def copy(self) -> None:
        """As many as a chunk of planning, again and again."""
        slot = np.full(DUE, int(datetime.now(UTC).timestamp() * 1_000_000))
        readers = np.arange(self.reader, self.reader + DUE)
        self.reader += DUE
        twelve = bulk.Ragged(np.arange(DUE + 1) * 12, np.tile(np.arange(12), DUE))
        none = bulk.Ragged(np.zeros(DUE + 1, np.int64), np.empty(0, np.int64))
        with self.database.transaction() as session:
            with bulk.cursor(session) as cursor:
                name = "mail_number" if self.by_month else "digest_id_seq"
                draw = f"SELECT array_send(array_agg(nextval('{name}'))) FROM generate_series(1, %s)"  # noqa: S608
                drawn = bulk.numbers(cursor.execute(draw, (DUE,)).fetchall()[0][0])
            ids = (months.ids(months.months_of(slot), drawn) if self.by_month else drawn).astype(">i8")
            small = np.full(DUE, 1, ">i4")
            keys = [ids, readers.astype(">i8"), bulk.timestamps(slot), small, small, small]
            columns: list[NDArray[Any] | bulk.Ragged] = [*keys, twelve, twelve, twelve, none, small]
            bulk.copy(raw(session), plan.DIGESTS, bulk.ragged(columns))
            fields = [readers.astype(">i8"), ids, bulk.timestamps(slot), bulk.timestamps(slot + 10**10)]
            fields += [np.full(DUE, 5, ">i2"), np.full(DUE, b"digest"), rows.message_ids("papers.example", DUE)]
            if self.by_month:
                bulk.copy(raw(session), plan.DELIVERIES, bulk.fixed([ids, *fields]))
            else:
                bulk.copy(raw(session), ONE_DELIVERIES, bulk.fixed(fields))

    def sweep(self) -> None:
        rows.sweep(self.database)

    def bounce(self) -> None:
        """Fifty rows by their ids, one by one."""
        for each in self.held[:50]:
            self._asked(text("SELECT * FROM delivery WHERE id = :id"), {"id": each})

    def story(self) -> None:
        """Fifty readers' deliveries."""
        for each in range(1000, 1050):
            self._asked(text("SELECT * FROM delivery WHERE reader_id = :id ORDER BY id DESC LIMIT 21"), {"id": each})

    def measures(self) -> None:
        self._asked(measures.WAITING, {"now": datetime.now(UTC)})
        self._asked(measures.LEASED, {"now": datetime.now(UTC)})
        self._asked(measures.SETTLED, {"since": datetime.now(UTC) - timedelta(days=1)})

    def overview(self) -> None:
        now = datetime.now(UTC)
        self._asked(today.OPEN, {"now": now})
        self._asked(today.SETTLED, {"lately": now, "since": now - timedelta(days=1)})

    def letters(self) -> None:
        letters.prune(self.database)

    def _asked(self, statement: TextClause, values: dict[str, object]) -> list[tuple[Any, ...]]:
        with self.database.connection() as connection:
            return [tuple(row) for row in connection.execute(statement, values)]


def measured(sides: list[Side], names: list[str], times: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each act, of each side."""
    spent: dict[str, list[list[float]]] = {name: [[], []] for name in names}
    for turn in range(times):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        for name in names:
            for at in order:
                act: Callable[[], None] = getattr(sides[at], name)
                started = time.perf_counter()
                act()
                spent[name][at].append((time.perf_counter() - started) * 1000)
    return spent


def run(folder: Path) -> dict[str, dict[str, float]]:
    server = EmbeddedPostgres(folder / "postgres")
    url = make_url(server.start())
    admin = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for name in ("one", "months"):
            connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    addresses = [url.set(database=name).render_as_string(hide_password=False) for name in ("one", "months")]
    try:
        with Database(addresses[0]) as one, Database(addresses[1]) as many:
            with one.engine.connect() as connection:
                command.upgrade(migrations.configuration(connection), "0016")
            migrations.upgrade(many)
            fill(one, by_month=False)
            fill(many, by_month=True)
            sides = [Side(one, by_month=False), Side(many, by_month=True)]
            spent = measured(sides, ["claim", "recheck", "settle"], BATCHES)
            spent |= measured(sides, ["sweep", "bounce", "story", "measures", "overview", "letters"], 20)
            spent |= measured(sides, ["copy"], COPIES)
    finally:
        server.release()
    told = {}
    for name, (before, now) in spent.items():
        one_table, by_month = statistics.median(before), statistics.median(now)
        told[name] = {"one": round(one_table, 2), "months": round(by_month, 2), "times": round(by_month / one_table, 2)}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="paperround-bench-"))
    try:
        told = run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print(json.dumps({"bench": "months", "unit": "ms", "acts": told}))
        return
    for name, each in told.items():
        print(f"{name:10} {each['one']:10.2f} {each['months']:10.2f} {each['times']:6.2f}")


if __name__ == "__main__":
    main()
