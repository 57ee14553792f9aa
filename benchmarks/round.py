"""A whole round: plan, compose, sign, send and record the digests of N readers, counted at the receiving end.

    python -m benchmarks.round --readers 10000 --json

Invented papers, a heavy-tailed choice of topics (few are followed by many), five interests each; the embedded
PostgreSQL with its durability on; DKIM by RSA-2048; the journal; a sender process for each core; the sink in a process
of its own on the same machine. ``peak_mib`` is the most that all our processes, PostgreSQL's among them and the sink
apart, held at one moment. The peer is the same digests by the standard library's EmailMessage and smtplib in eight
threads to the same sink, without planning, composing, signing or recording.
"""

from __future__ import annotations

import json
import random
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

import psutil
from sqlalchemy import select, text

from benchmarks.telling import options, scratch, tell
from service.database import Database
from service.database.tables import Topic
from service.delivery import crew, dkim
from service.digests import plan
from service.mails.compose import Composer
from service.papers import editions, ingest
from service.papers.record import Identifier, PaperRecord
from service.papers.samples import SampleSource
from service.readiness import open_ready
from service.settings import Settings
from service.subscribers import accounts
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.consent import Visit

PAPERS = 1_000
INTERESTS = 5
PEER_READERS = 2_000
THREADS = 8


class Invented:
    """The samples, over and over with other numbers, until there are enough."""

    name, origin = "file", "the benchmark"

    def fetch(self, since: Any) -> Iterator[PaperRecord]:
        samples = list(SampleSource().fetch(since))
        for number in range(PAPERS):
            like = samples[number % len(samples)]
            yield PaperRecord(
                source=self.name,
                title=f"{like.title} ({number})",
                identifiers=(Identifier("arxiv", f"9901.{number:05d}"),),
                abstract=like.abstract * 2,
                authors=like.authors,
                author_count=like.author_count,
                categories=like.categories,
                upvotes=number % 50,
            )


@contextmanager
def sink() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.terminate()


def counted(process: subprocess.Popen[str]) -> dict[str, int]:
    process.terminate()
    assert process.stdout is not None
    return dict(json.loads(process.stdout.read()))


def enrol(database: Database, readers: int) -> None:
    """Readers by COPY-like inserts: how they got in is not what is measured."""
    draw = random.Random(7)
    with database.transaction() as session:
        topics = session.execute(select(Topic.slug, Topic.query_id, Topic.name).order_by(Topic.position)).all()
        weights = [1 / (rank + 1) for rank in range(len(topics))]
        session.execute(
            text("""
                INSERT INTO reader (email, address_key, state, paper_limit, next_digest_at)
                SELECT 'r' || n || '@example.org', 'r' || n || '@example.org', 'active', 10, now() - interval '1 hour'
                FROM generate_series(1, :readers) AS n
            """),
            {"readers": readers},
        )
        rows = []
        for reader in range(1, readers + 1):
            chosen = {each.query_id: each for each in draw.choices(topics, weights, k=INTERESTS)}
            rows += [(reader, each.query_id, each.slug, each.name) for each in chosen.values()]
        for start in range(0, len(rows), 50_000):
            batch = rows[start : start + 50_000]
            session.execute(
                text("""
                    INSERT INTO interest (reader_id, query_id, topic_slug, label)
                    SELECT * FROM unnest(CAST(:a AS bigint[]), CAST(:b AS bigint[]),
                                         CAST(:c AS text[]), CAST(:d AS text[]))
                """),
                dict(zip("abcd", map(list, zip(*batch, strict=True)), strict=True)),
            )


class Memory:
    """The most memory that this process, those it started, and PostgreSQL's hold together: shared pages count once."""

    def __init__(self, home: Path, apart: int) -> None:
        self._home, self._apart = home, apart
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0
        """Bytes."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            total = 0
            for process in self._processes():
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)

    def _processes(self) -> list[psutil.Process]:
        postmaster = int((self._home / "postgres" / "postmaster.pid").read_text().split()[0])
        roots = [psutil.Process(), psutil.Process(postmaster)]
        found = {each.pid: each for root in roots for each in [root, *root.children(recursive=True)]}
        found.pop(self._apart, None)
        return list(found.values())


def ours(readers: int, home: Path, processes: int | None) -> dict[str, Any]:
    with sink() as (port, process):
        home.mkdir()
        key = home / "dkim.pem"
        dkim.make_key(key)
        settings = Settings(
            home=home,
            smtp_url=f"smtp://127.0.0.1:{port}",
            send_connections=16,
            postal_address="1 Example Street",
            sender="Paperround <digest@papers.example>",
            dkim_key_file=key,
        )
        with open_ready(settings) as database, Memory(home, process.pid) as memory:
            ingest.ingest(database, Invented(), datetime.now(UTC).date())
            editions.cut(database)
            enrol(database, readers)
            started = time.perf_counter()
            planned = plan.plan_due(database, settings)
            after_plan = time.perf_counter()
            report = crew.send_due_together(database, settings, processes=processes)
            ended = time.perf_counter()
        received = counted(process)
    assert received["messages"] == received["recipients"] == report.sent == planned.digests, (received, report, planned)
    return {
        "digests": planned.digests,
        "plan_seconds": round(after_plan - started, 2),
        "send_seconds": round(ended - after_plan, 2),
        "rate": planned.digests / (ended - started),
        "mean_bytes": received["bytes"] // received["messages"],
        "peak_mib": memory.peak >> 20,
    }


def peer(home: Path) -> float:
    """Digests a second by the standard library, threads and all."""
    settings = Settings(home=home, postal_address="1 Example Street")
    with open_ready(settings) as database:
        with database.transaction() as session:
            signup = Signup("peer@example.org", preferences=Preferences(paper_limit=10), visit=Visit("benchmark"))
            reader = accounts.add_confirmed(session, settings, signup)
            # Many papers match the first query that matches enough; the peer only needs ten of them.
            popular = text("SELECT min(query_id) FROM match WHERE cardinality(paper_ids) > 10")
            values = {"reader": reader, "query": session.scalar(popular)}
            session.execute(text("UPDATE interest SET query_id = :query WHERE reader_id = :reader"), values)
            session.execute(text("UPDATE reader SET last_edition_id = 0 WHERE id = :reader"), values)
        draft = plan.peek(database, reader)
        assert draft is not None
        with database.transaction() as session:
            mail = Composer(settings).preview(session, reader, draft)
    with sink() as (port, process):
        started = time.perf_counter()

        def lane(first: int) -> None:
            with smtplib.SMTP("127.0.0.1", port) as connection:
                for number in range(first, PEER_READERS, THREADS):
                    message = EmailMessage()
                    message["From"], message["To"] = "Paperround <p@example.org>", f"r{number}@example.org"
                    message["Subject"] = mail.subject
                    message.set_content(mail.text)
                    message.add_alternative(mail.html, subtype="html")
                    connection.send_message(message)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lane, range(THREADS)))
        seconds = time.perf_counter() - started
        assert counted(process)["messages"] == PEER_READERS
    return PEER_READERS / seconds


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=None, help="of the senders; else one for each core")
    wanted = parser.parse_args()
    with scratch() as folder:
        figures = ours(wanted.readers, folder / "home", wanted.processes)
        beside = peer(folder / "home")
    rate = figures.pop("rate")
    row = {
        "bench": "round",
        "unit": "digests/s",
        "ours": round(rate, 1),
        "peer": round(beside, 1),
        "ratio": round(rate / beside, 2),
        "readers": wanted.readers,
        **figures,
    }
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
