"""Planning at scale: N readers with five interests each, from due readers to committed digests and delivery rows.

    python -m benchmarks.plan --readers 100000 --json

1,000 papers and 100,000 distinct queries (``benchmarks.world``), matched before the clock starts; few queries have
many followers. Ours is ``plan.plan_due`` in one process, every chunk a transaction. The peer does it in the same
PostgreSQL by joins, aggregates and windows: mutes, standing, each interest in its turn, reasons, the same rows, the
readers advanced; with indexes on what it joins, fresh statistics and much memory to sort in. The papers that the two
give every reader are compared. What is talked about is off in both: it is not what SQL is asked to do here.

The peer takes minutes and gigabytes of disk for a million readers. Above 100,000 it is run with 100,000 in a database
of their own, ours beside it: then "peer", "ratio" and "peer_readers" are of that size, and nothing is extrapolated.
With ``--alone`` it is not run at all.

Ours is run twice, and both are told: "ours" with the planner's process on one core and PostgreSQL on the others, as a
server beside it is; "all_on_one_core" with the two on the same core. Where cores cannot be chosen, or there is but one,
"ours" runs as the machine lets it and the other is null.

"matches_per_reader" says how broad the readers are. An edition of 1,000 papers on machine learning is asked for its own
subject: of the catalogue's topics the most followed match hundreds of them, of what people type three in five match
nothing and the others three in the median. "processor_seconds" are ours, "server_processor_seconds" PostgreSQL's.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sqlalchemy import text

from benchmarks import world
from benchmarks.match import store
from benchmarks.telling import options, scratch, tell
from service.database import Database, bulk
from service.database.engine import raw
from service.digests import plan
from service.matching import match
from service.matching.expression import canonical
from service.matching.places import SIGNALS, TELLING, Place
from service.matching.rank import MOST_COUNTED
from service.papers import editions, ingest
from service.readiness import open_ready
from service.settings import Settings

PAPERS, QUERIES, INTERESTS, LIMIT = 1_000, 100_000, 5, 12
MUTED_SHARE = 0.02
PEER_MOST = 100_000
"""Readers that the peer is asked to plan."""


def fill(database: Database, readers: int) -> None:
    """By COPY, past the checks of what refers to what: how they got in is not what is measured."""
    rows, _ = world.papers()
    ingest.ingest(database, world.Listed(rows[:PAPERS]), datetime.now(UTC).date())
    editions.cut(database)
    texts = [canonical(each) for each in world.queries(rows, QUERIES)]
    found = store(database, texts)
    ids = np.array([found[each] for each in texts], np.int64)
    with database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("""
                INSERT INTO reader (email, address_key, state, paper_limit, trending, next_digest_at)
                SELECT 'r' || n || '@example.org', 'r' || n || '@example.org', 'active', :most, false,
                    now() - interval '1 hour'
                FROM generate_series(1, :readers) AS n
            """),
            {"readers": readers, "most": LIMIT},
        )
        draw = np.random.default_rng(7)
        for start in range(1, readers + 1, 100_000):
            reader = np.arange(start, min(start + 100_000, readers + 1))
            for slot in range(INTERESTS):
                mine = ids[slot::INTERESTS]
                weight = 1 / np.arange(1, len(mine) + 1)
                chosen = draw.choice(mine, len(reader), p=weight / weight.sum())
                muted = draw.random(len(reader)) < MUTED_SHARE
                columns = [reader.astype(">i8"), chosen.astype(">i8"), np.full(len(reader), b"q"), muted.astype("i1")]
                statement = "COPY interest (reader_id, query_id, label, muted) FROM STDIN (FORMAT binary)"
                bulk.copy(raw(session), statement, bulk.fixed(columns))
    tidy(database)


def tidy(database: Database) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE reader, interest, query, match, digest, delivery"))
        connection.execute(text("CHECKPOINT"))


@dataclass(frozen=True, slots=True)
class Planned:
    seconds: float
    processor_seconds: float
    server_processor_seconds: float
    digests: int
    peak_mib: int
    """Of the process that plans."""


def cores() -> tuple[list[int], list[int]]:
    """One for the planner, and the others; the others are empty where there are none, or where none can be chosen."""
    every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return every[:1], every[1:]


def _keep_to(postmaster: psutil.Process, mine: list[int], its: list[int]) -> None:
    """This process, and the server with those it has begun and will begin, on these cores."""
    psutil.Process().cpu_affinity(mine)
    for each in (postmaster, *postmaster.children()):
        each.cpu_affinity(its)


def ours(settings: Settings, mine: list[int], its: list[int]) -> Planned:
    """Planning on these cores, PostgreSQL on those; empty: on any."""
    with Database.open(settings, own=False) as database:
        postmaster = psutil.Process(int((settings.home / "postgres" / "postmaster.pid").read_text().split()[0]))
        if mine and its:
            every = sorted(os.sched_getaffinity(0))
            _keep_to(postmaster, mine, its)
        served = _spent(postmaster)
        started, busy = time.perf_counter(), time.process_time()
        report = plan.plan_due(database, settings)
        seconds, processor = time.perf_counter() - started, time.process_time() - busy
        after = _spent(postmaster)
        if mine and its:
            _keep_to(postmaster, every, every)
    return Planned(
        seconds,
        processor,
        sum(spent - served.get(process, 0) for process, spent in after.items()),
        report.digests,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def _spent(postmaster: psutil.Process) -> dict[int, float]:
    """Processor seconds of each of the server's processes, by their id."""
    return {each.pid: sum(each.cpu_times()[:2]) for each in postmaster.children()}


_ALOFT = int(Place.TITLE | Place.AUTHOR)
_TEXT = int(Place.ABSTRACT | Place.KEYWORDS | Place.ORGANIZATION)
PEER = f"""
    CREATE TEMPORARY TABLE hit ON COMMIT DROP AS
        SELECT query_id, paper_id, place::int AS place,
            CASE WHEN place & {int(TELLING)} > 0 THEN 2
                WHEN bit_count((place & {int(SIGNALS)})::bit(8)) > 1 THEN 1 ELSE 0 END AS tier,
            CASE WHEN place & {_ALOFT} > 0 THEN 2 WHEN place & {_TEXT} > 0 THEN 1 ELSE 0 END AS aloft
        FROM match CROSS JOIN LATERAL unnest(paper_ids, places) AS found (paper_id, place) WHERE edition_id = 1;
    CREATE INDEX ON hit (query_id);
    ANALYZE hit;
    CREATE TEMPORARY TABLE due ON COMMIT DROP AS
        SELECT id AS reader_id, next_digest_at AS slot, paper_limit, last_edition_id,
            month_id(next_digest_at, nextval('mail_number')) AS digest_id
        FROM reader WHERE state = 'active' AND next_digest_at <= now() FOR UPDATE SKIP LOCKED;
    ANALYZE due;
    CREATE TEMPORARY TABLE entry ON COMMIT DROP AS
        SELECT reader_id, query_id, paper_id, place, tier, aloft, muted
        FROM due JOIN interest USING (reader_id) JOIN hit USING (query_id);
    ANALYZE entry;
    CREATE TEMPORARY TABLE ranked ON COMMIT DROP AS
        SELECT reader_id, paper_id, row_number() OVER (
                PARTITION BY reader_id ORDER BY tier DESC, aloft DESC, number DESC, esteem DESC, paper_id
            ) AS standing,
            count(*) OVER (PARTITION BY reader_id) AS matched
        FROM (
            SELECT reader_id, paper_id, max(aloft) AS aloft, least(count(*), {MOST_COUNTED}) AS number,
                greatest(max(tier), (count(*) > 1 OR bit_count((bit_or(place) & {int(SIGNALS)})::bit(8)) > 1)::int)
                    AS tier
            FROM entry GROUP BY reader_id, paper_id HAVING NOT bool_or(muted)
        ) AS paired
        JOIN (SELECT id AS paper_id, least(floor(4 * log(2, 1 + coalesce(upvotes, 0))), 63) AS esteem FROM paper)
            AS esteemed USING (paper_id);
    ANALYZE ranked;
    CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS
        SELECT reader_id, paper_id, matched,
            row_number() OVER (PARTITION BY reader_id ORDER BY standing) - 1 AS place
        FROM (
            SELECT reader_id, paper_id, matched, standing,
                row_number() OVER (PARTITION BY reader_id ORDER BY min(helping), standing) AS turn
            FROM (
                SELECT reader_id, paper_id, matched, standing,
                    row_number() OVER (PARTITION BY reader_id, query_id ORDER BY standing) AS helping
                FROM entry JOIN ranked USING (reader_id, paper_id)
            ) AS helped
            GROUP BY reader_id, paper_id, matched, standing
        ) AS turned
        JOIN due USING (reader_id) WHERE turn <= paper_limit;
    ANALYZE chosen;
    CREATE TEMPORARY TABLE planned ON COMMIT DROP AS
        SELECT digest_id, reader_id, slot, last_edition_id, matched, paper_ids, reason_papers, reason_queries
        FROM due
        JOIN (SELECT reader_id, min(matched) AS matched, array_agg(paper_id ORDER BY place) AS paper_ids
            FROM chosen GROUP BY reader_id) AS papers USING (reader_id)
        JOIN (SELECT reader_id,
                array_agg(chosen.place ORDER BY chosen.place, tier DESC, aloft DESC, query_id) AS reason_papers,
                array_agg(query_id ORDER BY chosen.place, tier DESC, aloft DESC, query_id) AS reason_queries
            FROM chosen JOIN entry USING (reader_id, paper_id) GROUP BY reader_id) AS reasons USING (reader_id);
    INSERT INTO digest (id, reader_id, slot, first_edition_id, last_edition_id, matched, paper_ids, reason_papers,
            reason_queries)
        SELECT digest_id, reader_id, slot, last_edition_id + 1, 1, matched, paper_ids, reason_papers, reason_queries
        FROM planned;
    INSERT INTO delivery (id, reader_id, digest_id, due_at, deadline, priority, kind, message_id)
        SELECT digest_id, reader_id, digest_id, slot, slot + interval '24 hours', 5, 'digest',
            replace(gen_random_uuid()::text, '-', '') || '@localhost'
        FROM planned;
    UPDATE reader SET next_digest_at = slot + interval '1 day', last_edition_id = 1 FROM due
        WHERE reader.id = due.reader_id;
"""  # noqa: S608 (constants)


def peer(database: Database) -> float:
    with database.transaction() as session:
        connection = raw(session)
        connection.execute("SET LOCAL work_mem = '512MB'")
        connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
        started = time.perf_counter()
        for statement in PEER.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute("SELECT 1")
        spent = time.perf_counter() - started
        started = time.perf_counter()
    return spent + time.perf_counter() - started


def given(database: Database) -> tuple[str, int, int]:
    """What all readers got, as one hash; the number of digests; and how many papers matched in the mean."""
    statement = text("""
        SELECT md5(string_agg(md5(row(reader_id, paper_ids, matched, reason_papers, reason_queries)::text), ''
            ORDER BY reader_id)), count(*), coalesce(avg(matched), 0) FROM digest
    """)
    with database.transaction() as session:
        row = session.execute(statement).one()
        return str(row[0]), int(row[1]), round(row[2])


def forget(database: Database) -> None:
    """Back to before planning."""
    with database.transaction() as session:
        session.execute(text("TRUNCATE digest, delivery, carried_over"))
        session.execute(text("UPDATE reader SET next_digest_at = now() - interval '1 hour', last_edition_id = 0"))
    tidy(database)


def measured(readers: int, folder: Path, *, alone: bool) -> dict[str, Any]:
    row, beside = _run(readers, folder / "all", with_peer=readers <= PEER_MOST and not alone)
    if alone:
        return {"bench": "plan", "unit": "s", "ours": row["seconds"], "peer": None, "ratio": None, **row}
    alike = row
    if beside is None:
        alike, beside = _run(PEER_MOST, folder / "beside", with_peer=True)
    assert beside is not None
    return {
        "bench": "plan",
        "unit": "s",
        "ours": row["seconds"],
        "peer": round(beside, 2),
        "ratio": round(beside / alike["seconds"], 2),
        "peer_readers": alike["readers"],
        "ours_beside_peer": alike["seconds"],
        **row,
    }


def _in_a_process(settings: Settings, mine: list[int], its: list[int]) -> Planned:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(ours, (settings, mine, its))


def _run(readers: int, home: Path, *, with_peer: bool) -> tuple[dict[str, Any], float | None]:
    """Our figures, and the peer's seconds."""
    settings = Settings(home=home, postal_address="1 Example Street")
    with open_ready(settings) as database:
        started = time.perf_counter()
        fill(database, readers)
        after_filling = time.perf_counter()
        match.match_pending(database)
        tidy(database)
        after_matching = time.perf_counter()
        one, others = cores()
        together = None
        if others:
            together = _in_a_process(settings, one, one)
            forget(database)
        planned = _in_a_process(settings, one, others)
        by_us, stored, matched = given(database)
        assert stored == planned.digests
        beside = None
        if with_peer:
            forget(database)
            beside = peer(database)
            by_peer, stored_by_peer, _ = given(database)
            assert (by_peer, stored_by_peer) == (by_us, stored), "the two give readers different papers"
    shutil.rmtree(home)
    return {
        "seconds": round(planned.seconds, 2),
        "readers": readers,
        "digests": planned.digests,
        "matches_per_reader": matched,
        "processor_seconds": round(planned.processor_seconds, 2),
        "server_processor_seconds": round(planned.server_processor_seconds, 2),
        "all_on_one_core": together and round(together.seconds, 2),
        "peak_mib": planned.peak_mib,
        "load_seconds": round(after_filling - started, 1),
        "match_seconds": round(after_matching - after_filling, 1),
    }, beside


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    wanted = parser.parse_args()
    with scratch() as folder:
        row = measured(wanted.readers, folder, alone=wanted.alone)
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
