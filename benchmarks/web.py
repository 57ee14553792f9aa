"""The site under load: the day page, search and the preview, 50 requests at once, over a year of papers.

    python -m benchmarks.web --json

100,000 invented papers, copied in; the server as ``paperround web`` runs it; the load from a process of its own over
kept connections, its own processor time told beside the figures. ``search`` is the mix of a site where fifty ask at
once: most ask what others ask. 3,000 requests a round are drawn from 1,000 queries, the n-th most popular 1/n as
often as the first; ``distinct`` is the share of requests that are different queries, ``new`` of those that nobody
asked in this run before. ``search_cold`` is the other end: every query was never asked before. ``preview`` posts the
form of the subscribe page, as its script does while somebody chooses: one to eight topics of the catalogue and, every
second time, a query of the same mix; nearly every form is another. The peer is the same day page made the plain way
(FastAPI, SQLAlchemy, Jinja, no keeping), by the same server program, interleaved round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil

from benchmarks.telling import options, scratch, tell
from service.database import Database
from service.database.engine import raw
from service.papers.samples import SampleSource
from service.readiness import open_ready
from service.settings import Settings
from service.subscribers.topics import catalogue

AT_ONCE = 50
DAYS = 365
NEWEST = date(2026, 6, 30)
WORDS = "robot language vision graph protein speech quantum diffusion attention retrieval agent safety memory".split()
MORE = "learning planning benchmark transformer reasoning detection segmentation policy alignment generation".split()


def load_papers(database: Database, papers: int) -> None:
    """A year of papers by COPY: titles and abstracts of the samples, mixed anew, so that words are spread."""
    draw = random.Random(11)
    samples = list(SampleSource().fetch(NEWEST))
    sentences = [sentence for each in samples for sentence in each.abstract.split(". ") if sentence]
    columns = "title, abstract, authors, author_count, categories, listed_on, published_on, title_key, upvotes"
    with (
        database.connection() as connection,
        raw(connection).cursor().copy(f"COPY paper ({columns}) FROM STDIN") as copy,
    ):
        for number in range(papers):
            like = samples[number % len(samples)]
            day = NEWEST - timedelta(days=DAYS - 1 - number * DAYS // papers)
            title = f"{like.title}: {draw.choice(WORDS)} {draw.choice(MORE)} {number}"
            abstract = ". ".join(draw.choices(sentences, k=7))[:1500]
            key = "".join(filter(str.isalnum, title.lower()))
            names = list(like.authors)
            copy.write_row((title, abstract, names, len(names), list(like.categories), day, day, key, number % 40))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE paper")


@contextmanager
def served(
    command: list[str], home: Path, port: int, path: str, environment: dict[str, str]
) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command], env=os.environ | environment | {"PAPERROUND_HOME": str(home)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + 120
        while True:
            try:
                asyncio.run(_ask(port, path))
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < give_up, "the server did not come up"
                time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def _ask(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status, _ = await _one(reader, writer, path)
    writer.close()
    return status


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, int]:
    """One request: a path to GET, or a path, a space and a form to POST."""
    path, _, form = path.partition(" ")
    method = "POST" if form else "GET"
    more = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n" if form else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n{more}\r\n"
    writer.write((head + form).encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(answer[9:12])
    if b"content-length:" in answer:
        length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        return status, length
    total = 0
    while size := int((await reader.readline()).strip(), 16):
        total += size
        await reader.readexactly(size + 2)
    await reader.readline()
    return status, total


async def _load(port: int, paths: list[str]) -> dict[str, Any]:
    """Ask for every path, ``AT_ONCE`` at a time, each on a kept connection."""
    waiting = iter(paths)
    seconds: list[float] = []
    sizes: list[int] = []

    async def hand() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in waiting:
            began = time.perf_counter()
            status, size = await _one(reader, writer, path)
            seconds.append(time.perf_counter() - began)
            sizes.append(size)
            assert status == 200, (status, path)
        writer.close()

    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    await asyncio.gather(*(hand() for _ in range(AT_ONCE)))
    whole = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF)
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "p50": round(cuts[49] * 1000, 2),
        "p99": round(cuts[98] * 1000, 2),
        "rate": round(len(seconds) / whole),
        "bytes": round(statistics.median(sizes)),
        "load_cpu_share": round((own.ru_utime + own.ru_stime - before.ru_utime - before.ru_stime) / whole, 2),
    }


def loaded(port: int, paths: list[str]) -> dict[str, Any]:
    """The load from a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.web", "--load", str(port)], input=json.dumps(paths), text=True,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return dict(json.loads(process.stdout))


def queries(count: int) -> list[str]:
    pairs = itertools.cycle(itertools.product(WORDS, MORE))
    shapes = (
        "{} {}",
        "title:{} {}",
        "{} -{}",
        "{} OR {}",
        '"{} {}"',
        "title:{} OR title:{}",
        "{} AND title:{}",
        "{}* {}",
    )
    return [shapes[number % len(shapes)].format(*next(pairs)) for number in range(count)]


def form(draw: random.Random, topics: list[str], typed: str) -> str:
    """What the subscribe page's script posts."""
    fields = [("topic", each) for each in draw.sample(topics, draw.randint(1, 8))]
    if draw.random() < 0.5:
        fields.append(("queries", typed))
    return urlencode(fields)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measured(papers: int, rounds: int, workers: int, home: Path) -> dict[str, Any]:
    port, beside = free_port(), free_port()
    ours_env = {"PAPERROUND_PORT": str(port), "PAPERROUND_WEB_WORKERS": str(workers)}
    day = f"/day/{NEWEST - timedelta(days=1)}"
    draw = random.Random(5)
    asked = queries(1_000)
    weights = [1 / (rank + 1) for rank in range(len(asked))]
    colds = [f"/search?q={quote(f'{query} -x{n}')}" for n, query in enumerate(asked)]
    found: dict[str, list[dict[str, Any]]] = {}
    topics = [topic.slug for group in catalogue.load().groups for topic in group.topics]
    known: set[str] = set()
    before: set[str] = set()
    with open_ready(Settings(home=home)) as database:
        load_papers(database, papers)
        url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        peer = ["uvicorn", "--factory", "benchmarks.web_peer:app", "--port", str(beside), "--log-level", "error"]
        peer += ["--workers", str(workers)]
        started = time.monotonic()
        with (
            served(["service.cli", "web"], home, port, "/search?q=robot", ours_env) as server,
            served(peer, home, beside, day, {"PEER_DATABASE": url}),
        ):
            up_seconds = time.monotonic() - started
            for number in range(rounds):
                mix = draw.choices(asked, weights, k=3_000)
                known |= before
                before = set(mix)
                forms = [form(draw, topics, draw.choices(asked, weights)[0]) for _ in range(1_000)]
                plan: dict[str, tuple[int, list[str]]] = {
                    "day": (port, [day] * 4_000),
                    "peer_day": (beside, [day] * 400),
                    "search": (port, [f"/search?q={quote(each)}" for each in mix]),
                    "search_cold": (port, colds[number * 200 : number * 200 + 200]),
                }
                plan["preview"] = (port, [f"/preview {each}" for each in forms])
                for name, (target, paths) in plan.items():
                    found.setdefault(name, []).append(loaded(target, paths))
                found["search"][-1] |= {
                    "distinct": round(len(before) / len(mix), 3),
                    "new": round(len(before - known) / len(mix), 3),
                }
                found["preview"][-1]["distinct"] = round(len(set(forms)) / len(forms), 3)
            family = [server, *server.children(recursive=True)]
            memory = sum(each.memory_info().rss for each in family) // 2**20
    figures = {
        name: {key: statistics.median(each[key] for each in rows) for key in rows[0]} for name, rows in found.items()
    }
    return figures | {"server_mib": memory, "up_seconds": round(up_seconds, 1)}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--papers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="web processes, of ours and of the peer")
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.load:
        print(json.dumps(asyncio.run(_load(wanted.load, json.load(sys.stdin)))))
        return
    with scratch() as folder:
        figures = measured(wanted.papers, wanted.rounds, wanted.workers, folder / "home")
    ours, beside = figures["day"]["p99"], figures["peer_day"]["p99"]
    row = {"bench": "web", "unit": "ms p99, day page", "ours": ours, "peer": beside, "ratio": round(beside / ours, 2)}
    row |= {
        "papers": wanted.papers,
        "at_once": AT_ONCE,
        "workers": wanted.workers,
        "rounds": wanted.rounds,
        "load_average": round(os.getloadavg()[0], 1),
    } | figures
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
