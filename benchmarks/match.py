"""Matching at scale: 1,000 papers against 100,000 distinct queries.

    python -m benchmarks.match --json

Papers and queries are those of ``benchmarks.world``. Ours is ``match.fill``, whole: reading the papers and folding
them, building the edition's sets, reading the canonical queries from PostgreSQL, understanding them, answering them,
and writing the match rows, committed. The peer is the straightforward way with a search engine: the same papers in a
tantivy index in memory, the same queries understood and run one after the other; its reading and writing of rows is
left out. Both must find the same papers for every query.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import world
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


def measured(home: Path) -> dict[str, Any]:
    rows, real = world.papers()
    canonical = [expression.canonical(each) for each in world.queries(rows, QUERIES)]
    ours, peer = [], []
    with open_ready(Settings(home=home)) as database:
        ingest.ingest(database, world.Listed(rows[:PAPERS]), datetime.now(UTC).date())
        editions.cut(database)
        ids = store(database, canonical)
        papers = 0
        for number in range(ROUNDS):
            with database.transaction() as session:
                session.execute(text("TRUNCATE match"))
            started = time.perf_counter()
            written, papers = match.fill(database, 1, ids.values())
            ours.append(time.perf_counter() - started)
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
    seconds, beside = statistics.median(ours), statistics.median(peer)
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
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="paperround-benchmark-"))
    try:
        row = measured(folder / "home")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not wanted.json:
        for name, value in row.items():
            print(f"{name:12} {value}")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
