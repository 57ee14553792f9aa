"""Papers in: a JSON Lines file of N papers, and a day's arXiv feed of 1,000 items, into the embedded PostgreSQL.

    python -m benchmarks.ingest --papers 10000 --json

"ours" is papers a second of the JSON Lines ingest, from opening the file to the last commit, counted afterwards in the
table. The peer is the straightforward way into the same tables of the same database: the same parsed rows, and for each
of them SQLAlchemy's ORM get-or-create by identifier, with a commit every 500 rows as we have; it knows neither titles
nor merges. Both take turns in one process, medians are shown. Peak memory is that of a process which does nothing but
ingest, at two sizes of the file. Real papers are used where the developers' input lies beside the checkout, over and
over under other numbers; else invented ones.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from benchmarks.telling import options, scratch, tell
from service.database import Database
from service.database.tables import Base, Paper, PaperIdentifier, Sighting
from service.papers import ingest, merge, sources
from service.papers.record import PaperRecord, Row
from service.papers.samples import SampleSource
from service.papers.sources import arxiv_rss
from service.papers.text import readable_key
from service.readiness import open_ready
from service.settings import Settings

REAL = Path(__file__).parents[2] / "shared" / "data" / "arxiv_papers.jsonl.gz"
ROUNDS = 3
PEER_PAPERS = 2_000
FEED_ITEMS = 1_000
COMMIT_EVERY = 500
MEMORY_PAPERS = (5_000, 40_000)
TODAY = datetime.now(UTC).date()


def rows() -> Iterator[dict[str, Any]]:
    """Papers without end, no two with one number or title."""
    stock: list[dict[str, Any]]
    if REAL.exists():
        with gzip.open(REAL) as file:
            stock = [json.loads(line) for line in file]
    else:
        stock = [
            {"title": each.title, "abstract": each.abstract * 4, "authors": each.authors, "categories": each.categories}
            for each in SampleSource().fetch(TODAY)
        ]
    for number in itertools.count():
        row = stock[number % len(stock)]
        again = f" ({number})" if number >= len(stock) else ""
        yield row | {
            "id": f"{1001 + number // 90_000 % 900:04d}.{10_000 + number % 90_000:05d}",
            "title": row["title"] + again,
        }


def write_lines(path: Path, papers: int) -> Path:
    with path.open("w") as file:
        for row in itertools.islice(rows(), papers):
            file.write(json.dumps(row) + "\n")
    return path


def feed(items: int) -> bytes:
    """A day's announcements in the form of arXiv's RSS."""
    written = "".join(
        f"<item><title>{escape(row['title'])}</title><link>https://arxiv.org/abs/{row['id']}</link>"
        f"<description>arXiv:{row['id']}v1 Announce Type: new \nAbstract: {escape(row.get('abstract') or '')}"
        f"</description><guid isPermaLink='false'>oai:arXiv.org:{row['id']}v1</guid>"
        f"{''.join(f'<category>{each}</category>' for each in row.get('categories') or ())}"
        f"<pubDate>{TODAY:%a, %d %b %Y} 00:00:00 -0400</pubDate>"
        f"<dc:creator>{escape(', '.join(row.get('authors') or ()))}</dc:creator></item>"
        for row in itertools.islice(rows(), items)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<channel><title>cs updates</title>{written}</channel></rss>"
    ).encode()


class Feed:
    """The feed as a source: what the network would have brought is there already."""

    name, origin = arxiv_rss.NAME, "the benchmark"

    def __init__(self, body: bytes) -> None:
        self._body = body

    def fetch(self, since: Any) -> Iterator[Row]:  # noqa: ARG002 (one day)
        return iter(arxiv_rss.read_feed(self._body, self.origin))


def emptied(database: Database) -> None:
    names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    with database.connection() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))


def stored(database: Database, wanted: int) -> None:
    with database.transaction() as session:
        found = session.scalars(select(func.count()).select_from(Paper)).one()
    # Real rows hold a few works twice; they are one paper each.
    assert 0.98 * wanted <= found <= wanted, (found, wanted)


def ours(database: Database, path: Path, papers: int) -> float:
    """Seconds."""
    emptied(database)
    started = time.perf_counter()
    report = ingest.ingest(database, sources.from_file(path), TODAY)
    seconds = time.perf_counter() - started
    assert report.seen == papers, report
    assert report.rejected == 0, report.problems[:3]
    stored(database, papers)
    return seconds


def peer(database: Database, path: Path, papers: int) -> float:
    """Seconds."""
    emptied(database)
    now = datetime.now(UTC)
    started = time.perf_counter()
    with Session(database.engine) as session:
        for number, record in enumerate(sources.from_file(path).fetch(TODAY), 1):
            assert isinstance(record, PaperRecord)
            _get_or_create(session, record, now)
            if number % COMMIT_EVERY == 0:
                session.commit()
        session.commit()
    seconds = time.perf_counter() - started
    stored(database, papers)
    return seconds


def _get_or_create(session: Session, record: PaperRecord, now: datetime) -> None:
    name = record.identifiers[0]
    known = session.get(PaperIdentifier, (name.scheme, name.value))
    if known is not None:
        merge.into(session.get_one(Paper, known.paper_id), record, now)
        return
    paper = merge.made(record, readable_key(record.title), now)
    session.add(paper)
    session.flush()
    session.add_all(
        PaperIdentifier(scheme=each.scheme, value=each.value, paper_id=paper.id) for each in record.identifiers
    )
    session.add(Sighting(paper_id=paper.id, source=record.source, listed_on=paper.listed_on))


def feed_seconds(database: Database, body: bytes) -> float:
    emptied(database)
    started = time.perf_counter()
    report = ingest.ingest(database, Feed(body), TODAY)
    seconds = time.perf_counter() - started
    assert report.seen == FEED_ITEMS, report
    assert report.error is None, report
    stored(database, FEED_ITEMS)
    return seconds


def peak_mib(home: Path, path: Path) -> int:
    """Of a process of its own that ingests ``path``."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--only", str(path), "--home", str(home)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def only(home: Path, path: Path) -> None:
    with open_ready(Settings(home=home), own=False) as database:
        emptied(database)
        ingest.ingest(database, sources.from_file(path), TODAY)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def measured(papers: int, folder: Path) -> dict[str, Any]:
    path = write_lines(folder / "papers.jsonl", papers)
    short = write_lines(folder / "short.jsonl", PEER_PAPERS)
    body = feed(FEED_ITEMS)
    seconds, beside, feeds = [], [], []
    with open_ready(Settings(home=folder / "home")) as database:
        for _ in range(ROUNDS):
            seconds.append(ours(database, path, papers))
            beside.append(peer(database, short, PEER_PAPERS))
            feeds.append(feed_seconds(database, body))
        peaks = {
            str(size): peak_mib(folder / "home", write_lines(folder / f"{size}.jsonl", size)) for size in MEMORY_PAPERS
        }
    rate, peer_rate = papers / statistics.median(seconds), PEER_PAPERS / statistics.median(beside)
    return {
        "bench": "ingest",
        "unit": "papers/s",
        "ours": round(rate, 1),
        "peer": round(peer_rate, 1),
        "ratio": round(rate / peer_rate, 2),
        "peer_is": "SQLAlchemy ORM, get-or-create by row, a commit every 500, same tables and database",
        "papers": papers,
        "seconds": round(statistics.median(seconds), 2),
        "feed_items": FEED_ITEMS,
        "feed_seconds": round(statistics.median(feeds), 2),
        "peak_mib_by_papers": peaks,
        "input": "real" if REAL.exists() else "invented",
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--papers", type=int, default=10_000)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.only is not None:
        only(wanted.home, wanted.only)
        return
    with scratch() as folder:
        row = measured(wanted.papers, folder)
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
