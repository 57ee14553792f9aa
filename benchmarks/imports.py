"""A long list of readers: imported by the command, killed in the middle and resumed, and every row accounted for.

    python -m benchmarks.imports --rows 1000000 --json

Each good row has two interests (topics of the catalogue, few of them followed by many; for one row in ten a typed
query), an hour and a time zone. One row in a hundred is bad, in seven ways that lists are bad in. ``ours`` is good and
bad rows a second by the clock around the whole command ``paperround readers import`` (its start included) into the
embedded PostgreSQL with its durability on; ``peak_mib`` is the command's own. Then the tables are emptied, and the same
command is killed (SIGKILL) once half the rows are in, and run again.

After either, ``wrong`` counts whatever is not as the file says: good rows without a reader, readers that no good row
names, readers without exactly their two interests or their one consent, bad rows that are not listed, and listed ones
that are not bad. It must be 0.

The peer enters each row by ``accounts.add_confirmed``, as the form of an operator does, a commit every 500 rows.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from benchmarks.telling import options, scratch, tell
from service.database import Database
from service.readiness import open_ready
from service.settings import Settings
from service.subscribers import accounts, interests
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.consent import Visit
from service.subscribers.topics import catalogue

CONSENT: Final = "Signed up at an invented desk, forms of 2026"
HEADER: Final = ("email", "topics", "queries", "hour", "timezone")
ONE_BAD_IN: Final = 100
QUERIES: Final = 5_000
"""Distinct ones that people typed."""
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata")
BAD: Final = (
    ("no-at-sign.example.org", "{topic}", "", "7", "UTC"),
    ("broken@", "{topic}", "", "7", "UTC"),
    ("", "{topic}", "", "7", "UTC"),
    ("bad{number}@example.org", "no-such-topic", "", "7", "UTC"),
    ("bad{number}@example.org", "{topic}", '"not closed', "7", "UTC"),
    ("bad{number}@example.org", "{topic}", "", "25", "UTC"),
    ("bad{number}@example.org", "{topic}", "", "7", "Atlantis/Capital"),
)
COMMIT_EVERY: Final = 500


def rows(wanted: int) -> Iterator[tuple[str, ...]]:
    """The cells of the list; row ``n`` (from 1) is bad where ``n % ONE_BAD_IN`` is 0."""
    draw = random.Random(13)
    # Some topics share a query, and two names for one query are one interest.
    slugs = list({topic.query: topic.slug for topic in catalogue.load().topics()}.values())
    weights = [1 / (rank + 1) for rank in range(len(slugs))]
    drawn: Iterator[str] = iter(())
    for number in range(1, wanted + 1):
        pair: list[str] = []
        while len(pair) < 2:
            slug = next(drawn, None)
            if slug is None:
                drawn = iter(draw.choices(slugs, weights, k=100_000))
            elif slug not in pair:
                pair.append(slug)
        if number % ONE_BAD_IN == 0:
            bad = BAD[number // ONE_BAD_IN % len(BAD)]
            yield tuple(cell.format(number=number, topic=pair[0]) for cell in bad)
        else:
            typed = f'"invented thing {draw.randrange(QUERIES)}"' if number % 10 == 1 else ""
            topics = pair[0] if typed else " ".join(pair)
            yield f"r{number}@example{number % 50}.org", topics, typed, str(number % 24), ZONES[number % len(ZONES)]


def write(path: Path, wanted: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows(wanted))


@dataclass(frozen=True, slots=True)
class Ended:
    seconds: float
    peak_mib: int
    report: dict[str, Any]
    """Empty where it was killed."""


def command(path: Path, home: Path) -> subprocess.Popen[str]:
    arguments = ["readers", "import", str(path), "--consent", CONSENT, "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")}
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *arguments],
        env=environment | {"PAPERROUND_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )


def run(path: Path, home: Path) -> Ended:
    started = time.perf_counter()
    with command(path, home) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        # What Popen would ask for, and with it the memory of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return Ended(seconds, usage.ru_maxrss // 1024, json.loads(said))


def killed_in_the_middle(database: Database, path: Path, home: Path, wanted: int) -> int:
    """Rows that were in when it died."""
    with command(path, home) as process, database.engine.connect() as connection:
        while (done := connection.scalar(text("SELECT max(rows) FROM reader_import")) or 0) < wanted // 2:
            assert process.poll() is None, "it ended before it could be killed"
            connection.rollback()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        connection.rollback()
        done = connection.scalar(text("SELECT max(rows) FROM reader_import"))
    return int(done)


_UNLIKE: Final = text("""
    WITH good AS (
        SELECT 'r' || n || '@example' || n % 50 || '.org' AS email FROM generate_series(1, :rows) AS n
        WHERE n % :one_in <> 0
    ), interests AS (
        SELECT reader_id, count(*) AS number FROM interest GROUP BY reader_id
    ), consents AS (
        SELECT reader_id, count(*) AS number FROM consent_event GROUP BY reader_id
    )
    SELECT count(*) FROM good FULL JOIN reader ON reader.email = good.email
    LEFT JOIN interests ON interests.reader_id = reader.id LEFT JOIN consents ON consents.reader_id = reader.id
    WHERE good.email IS NULL OR reader.id IS NULL
        OR interests.number IS DISTINCT FROM 2 OR consents.number IS DISTINCT FROM 1
""")


def wrong(database: Database, path: Path, wanted: int) -> int:
    """How many rows are not as the file says."""
    with database.connection() as connection:
        unlike = connection.execute(_UNLIKE, {"rows": wanted, "one_in": ONE_BAD_IN}).scalar_one()
    with path.with_suffix(".bad-rows.csv").open(newline="", encoding="utf-8") as file:
        listed = [int(row[0]) for row in islice(csv.reader(file), 1, None)]
    bad = set(range(ONE_BAD_IN, wanted + 1, ONE_BAD_IN))
    return int(unlike) + len(bad.symmetric_difference(listed)) + len(listed) - len(set(listed))


def forget(database: Database, path: Path) -> None:
    with database.transaction() as session:
        session.execute(text("TRUNCATE reader, interest, consent_event, reader_import CASCADE"))
    path.with_suffix(".bad-rows.csv").unlink(missing_ok=True)


def peer(database: Database, settings: Settings, wanted: int) -> float:
    """Rows a second, one after the other."""
    good = [cells for cells in islice(rows(wanted * 2), wanted + wanted // 50) if cells[0].startswith("r")][:wanted]
    started = time.perf_counter()
    for begin in range(0, len(good), COMMIT_EVERY):
        with database.transaction() as session:
            for email, topics, typed, hour, zone in good[begin : begin + COMMIT_EVERY]:
                wishes = [*interests.from_topics(session, topics.split()), *interests.from_queries([typed])]
                preferences = Preferences(hour=int(hour), timezone=zone)
                signup = Signup(email, wishes, preferences, Visit("benchmark"), CONSENT)
                accounts.add_confirmed(session, settings, signup)
    return len(good) / (time.perf_counter() - started)


def measured(wanted: int, peer_rows: int, folder: Path) -> dict[str, Any]:
    home, path = folder / "home", folder / "list.csv"
    settings = Settings(home=home)
    write(path, wanted)
    with open_ready(settings) as database:
        beside = peer(database, settings, peer_rows)
        forget(database, path)
        whole = run(path, home)
        amiss = wrong(database, path, wanted)
        forget(database, path)
        in_at_death = killed_in_the_middle(database, path, home, wanted)
        resumed = run(path, home)
        amiss += wrong(database, path, wanted)
        assert resumed.report["resumed_at"] == in_at_death
    rate = wanted / whole.seconds
    return {
        "bench": "import",
        "unit": "rows/s",
        "ours": round(rate, 1),
        "peer": round(beside, 1),
        "ratio": round(rate / beside, 2),
        "rows": wanted,
        "seconds": round(whole.seconds, 1),
        "peak_mib": whole.peak_mib,
        "entered": whole.report["entered"],
        "bad": whole.report["bad"],
        "wrong": amiss,
        "killed_at_row": in_at_death,
        "resumed_seconds": round(resumed.seconds, 1),
        "file_mib": round(path.stat().st_size / 2**20, 1),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=2_000, help="that the peer enters")
    wanted = parser.parse_args()
    with scratch() as folder:
        row = measured(wanted.rows, wanted.peer_rows, folder)
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
