"""Matching at scale: 1,000 papers against 100,000 distinct queries.

    python -m benchmarks.match --json

Papers and queries are those of ``benchmarks.world``. Ours is ``match.fill``, whole, in a process of its own as a worker
is: reading the papers and folding them, building the edition's sets, reading the canonical queries from PostgreSQL,
understanding them, answering them, and writing the match rows, committed. The peer is the straightforward way with a
search engine: the same papers in a tantivy index in memory, the same queries understood and run one after the other;
its reading and writing of rows is left out. Both must find the same papers for every query.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import world
from benchmarks.telling import options, scratch, tell
from service.database import Database
from service.database.engine import raw
from service.matching import expression, match, stock
from service.matching.index import PaperIndex
from service.papers import editions, ingest
from service.readiness import open_ready
from service.settings import Settings

PAPERS, QUERIES = 1_000, 100_000
ROUNDS = 3


def store(database: Database, canonical: list[str]) -> dict[str, int]:
    """The queries' ids, by text; stored by COPY."""
    with database.transaction() as session:
        known = set(session.scalars(text("SELECT canonical FROM query")))
        with (
            raw(session).cursor() as cursor,
            cursor.copy("COPY query (canonical, digest) FROM STDIN") as into,
        ):
            for each in canonical:
                if each not in known:
                    into.write_row((each, "\\x" + hashlib.sha256(each.encode()).hexdigest()))
        found: dict[str, int] = dict(session.execute(text("SELECT canonical, id FROM query")).all())
    return {each: found[each] for each in canonical}


def ours(settings: Settings, query_ids: list[int]) -> tuple[float, float, int, int, int]:
    """Wall and processor seconds, rows, papers in them, and the peak memory in MiB of this process."""
    with Database.open(settings, own=False) as database:
        started, busy = time.perf_counter(), time.process_time()
        written, papers = match.fill(database, 1, query_ids)
        seconds, processor = time.perf_counter() - started, time.process_time() - busy
    return seconds, processor, written, papers, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(home: Path) -> dict[str, Any]:
    settings = Settings(home=home)
    rows, real = world.papers()
    canonical = [expression.canonical(each) for each in world.queries(rows, QUERIES)]
    mine: list[float] = []
    busy: list[float] = []
    peer: list[float] = []
    with open_ready(settings) as database:
        ingest.ingest(database, world.Listed(rows[:PAPERS]), datetime.now(UTC).date())
        editions.cut(database)
        ids = store(database, canonical)
        papers = peak = 0
        for number in range(ROUNDS):
            with database.transaction() as session:
                session.execute(text("TRUNCATE match"))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, processor, written, papers, peak = pool.apply(ours, (settings, list(ids.values())))
            mine.append(seconds)
            busy.append(processor)
            assert written == QUERIES
            with database.transaction() as session:
                stocked = list(stock.papers(session))
            started = time.perf_counter()
            index = PaperIndex.build(stocked)
            found = {each: index.search(expression.recall(each)).paper_ids for each in canonical}
            peer.append(time.perf_counter() - started)
            if number == 0:
                with database.transaction() as session:
                    kept: dict[int, list[int]] = dict(
                        session.execute(text("SELECT query_id, paper_ids FROM match")).all()
                    )
                assert all(kept[ids[each]] == sorted(found[each].tolist()) for each in canonical), "they differ"
    seconds, beside = statistics.median(mine), statistics.median(peer)
    return {
        "bench": "match",
        "unit": "s",
        "ours": round(seconds, 2),
        "peer": round(beside, 2),
        "ratio": round(beside / seconds, 2),
        "papers": PAPERS,
        "queries": QUERIES,
        "matches": papers,
        "real_input": real,
        "processor_seconds": round(statistics.median(busy), 2),
        "peak_mib": peak,
    }


def main() -> None:
    parser = options(__doc__)
    wanted = parser.parse_args()
    with scratch() as folder:
        row = measured(folder / "home")
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
