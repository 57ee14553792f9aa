"""How sending grows with processes: 1, 2 and 4 senders, each in a data folder of its own, as on hosts of their own.

    python -m benchmarks.senders --json

They share one PostgreSQL (the embedded one, durability on, by its URL as in production) and one real Redis, which
counts what they may hand to the relay together, and claim from the same outbox: digests composed and signed (RSA-2048),
16 connections each to a sink that counts. The clock runs from the word to begin until the last of them finds nothing
due; starting is left out. A run counts only if every message came exactly once. ``ours`` is two processes, ``peer``
one.

``cores`` tells for each number of processes how many cores' worth of time the senders, PostgreSQL and the sink took:
where their sum reaches the machine's cores, more processes cannot help on this machine, and what takes most is what to
move to a machine of its own first. ``sender_ms`` is the senders' processor time for a message; with
``OTEL_EXPORTER_OTLP_ENDPOINT`` set, that with traces.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.round import Invented, counted, enrol, sink
from benchmarks.telling import options, scratch, tell
from service import tracing
from service.database import Database
from service.delivery import dkim, sender
from service.digests import plan
from service.papers import editions, ingest
from service.readiness import open_ready
from service.settings import Settings, load

SECRET: Final = "a-secret-of-the-benchmark-0123456789abcdef"  # noqa: S105 (guards nothing)
NO_LIMIT: Final = "100000/second"
"""Never reached, but asked for with every batch."""
AGAIN: Final = text("""
    UPDATE delivery SET state = 'queued', attempts = 0, unanswered = 0, reply = NULL, settled_at = NULL,
        due_at = now() - interval '1 minute', deadline = now() + interval '1 day'
""")


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is not on this machine"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    arguments = [program, "--port", str(port), "--dir", str(folder), "--save", "", "--loglevel", "warning"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        try:
            with socket.socket() as probe:
                while probe.connect_ex(("127.0.0.1", port)):
                    time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def as_sender() -> None:
    """One of the processes: settings from the environment; begins at a word, tells what it did, ends at another."""
    settings = load()
    tracing.start(tracing.Process.SENDER)
    with open_ready(settings) as database:
        sender.send_due(database, settings)  # nothing is due yet: everything is imported and connected
        print("ready", flush=True)
        sys.stdin.readline()
        before = time.process_time()
        report = sender.send_due(database, settings)
        print(json.dumps({"sent": report.sent, "processor": time.process_time() - before}), flush=True)
        sys.stdin.readline()


def started(environment: dict[str, str], home: Path) -> subprocess.Popen[str]:
    home.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.senders", "--sender"],
        env=environment | {"PAPERROUND_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str], word: str) -> str:
    """Say a word to a sender, if there is one to say; return its next line."""
    assert process.stdin is not None
    assert process.stdout is not None
    if word:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        return ""
    return process.stdout.readline()


def run(database: Database, settings: Settings, processes: int, messages: int, folder: Path) -> dict[str, float]:
    """One run: messages a second at the sink, and how many cores who took."""
    postmaster = psutil.Process(int((folder / "home" / "postgres" / "postmaster.pid").read_text().split()[0]))
    with sink() as (port, receiving):
        names = {
            "PAPERROUND_DATABASE_URL": database.engine.url.set(drivername="postgresql").render_as_string(False),
            "PAPERROUND_BROKER_URL": settings.broker_url or "",
            "PAPERROUND_SMTP_URL": f"smtp://127.0.0.1:{port}?rate={NO_LIMIT}",
            "PAPERROUND_SECRET": SECRET,
            "PAPERROUND_SEND_CONNECTIONS": "16",
            "PAPERROUND_DKIM_KEY_FILE": str(settings.dkim_key_file),
            "PAPERROUND_FROM": "Paperround <digest@papers.example>",
            "PAPERROUND_POSTAL_ADDRESS": "1 Example Street",
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")} | names
        homes = Path(tempfile.mkdtemp(dir=folder))
        crew = [started(environment, homes / str(number)) for number in range(processes)]
        for each in crew:
            assert told(each, "") == "ready\n"
        with database.transaction() as session:
            session.execute(AGAIN)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE delivery"))
            connection.execute(text("CHECKPOINT"))
        served, took = _spent(postmaster), _own(psutil.Process(receiving.pid))
        begun = time.perf_counter()
        for each in crew:
            told(each, "go")
        reports = [json.loads(told(each, "")) for each in crew]
        seconds = time.perf_counter() - begun
        served, took = _spent(postmaster) - served, _own(psutil.Process(receiving.pid)) - took
        for each in crew:
            told(each, "enough")
            each.wait()
        received = counted(receiving)
    assert received["messages"] == received["recipients"] == messages == sum(each["sent"] for each in reports), received
    return {
        "rate": messages / seconds,
        "senders": sum(each["processor"] for each in reports) / seconds,
        "postgresql": served / seconds,
        "sink": took / seconds,
    }


def _spent(postmaster: psutil.Process) -> float:
    return sum(_own(each) for each in [postmaster, *postmaster.children()])


def _own(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def measured(messages: int, counts: Sequence[int], rounds: int, folder: Path) -> dict[str, Any]:
    key = folder / "dkim.pem"
    dkim.make_key(key)
    found: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    # The secret is that of the senders: another would not open what the database holds sealed.
    here = Settings(home=folder / "home", secret=SecretStr(SECRET))
    with redis_server(folder) as broker, open_ready(here) as database:
        settings = Settings(
            home=folder / "home", secret=SecretStr(SECRET), broker_url=broker, dkim_key_file=key,
            postal_address="1 Example Street", sender="Paperround <digest@papers.example>",
        )  # fmt: skip
        ingest.ingest(database, Invented(), datetime.now(UTC).date())
        editions.cut(database)
        enrol(database, messages)
        digests = plan.plan_due(database, settings).digests
        # Not before they are all there: those that begin early must find nothing.
        with database.transaction() as session:
            session.execute(text("UPDATE delivery SET state = 'sent'"))
        for _ in range(rounds):
            for count in counts:
                found[count].append(run(database, settings, count, digests, folder))
    rates = {count: median(each["rate"] for each in runs) for count, runs in found.items()}
    fewest, more = counts[0], counts[min(1, len(counts) - 1)]
    return {
        "bench": "senders",
        "unit": "messages/s",
        "ours": round(rates[more], 1),
        "peer": round(rates[fewest], 1),
        "ratio": round(rates[more] / rates[fewest], 2),
        "rates": {str(count): round(rate, 1) for count, rate in rates.items()},
        "cores": {
            str(count): {name: round(median(each[name] for each in runs), 2) for name in runs[0] if name != "rate"}
            for count, runs in found.items()
        },
        "sender_ms": {
            str(count): round(1000 * median(each["senders"] / each["rate"] for each in runs), 3)
            for count, runs in found.items()
        },
        "machine_cores": os.cpu_count(),
        "messages": digests,
        "rounds": rounds,
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="readers, nearly all of whom get a digest")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4], help="numbers of processes")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sender", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.sender:
        as_sender()
        return
    with scratch() as folder:
        row = measured(wanted.messages, wanted.counts, wanted.rounds, folder)
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
