"""Rounds in which processes are killed at random moments, judged by what the receiving server took.

    make faults
    python -m tests.faults.kills --kills 100 --readers 2000 --seed 7

Everything runs as it does in service: PostgreSQL, Redis, Celery workers and two schedulers at once. In each round every
reader is due; while it is under way, SIGKILL hits a sender, a planner, the schedulers, PostgreSQL or Redis, or Redis is
emptied. What was killed is started again at once, and the round is over when nothing is left to be done. Leases are as
long as in service (five minutes), so nothing here is saved by one running out.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.database import Database
from service.papers import editions, ingest
from service.readiness import open_ready
from service.settings import Settings
from tests import factories
from tests.faults.judge import Judge, judging

ROUND_SECONDS = 240.0
"""A round that is not over by then has lost somebody, or the house does not get up again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one round."""

    readers: int
    kills: Counter[str]
    lost: int
    duplicates: int
    other_ids: int
    """Duplicates under another Message-ID."""
    unheard: int
    """Answers that were on the wire when a connection ended."""
    inexcusable: int
    """Duplicates of messages whose answer had been heard."""
    unsettled: int
    """Deliveries that the tables do not know to be sent."""
    seconds: float


@dataclass
class House:
    """All processes of a service, each of which may be killed and is started again."""

    home: Path
    database: Database
    judge: Judge
    broker_port: int
    draw: random.Random
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PAPERROUND_")}
        environment |= {
            "PAPERROUND_HOME": str(self.home),
            "PAPERROUND_BROKER_URL": f"redis://127.0.0.1:{self.broker_port}/0",
            "PAPERROUND_SMTP_URL": f"smtp://127.0.0.1:{self.judge.port}",
            "PAPERROUND_PLAN_CHUNK": "200",
            "PAPERROUND_SEND_BATCH": "200",
            "PAPERROUND_LOG_LEVEL": "WARNING",
        }
        celery = [sys.executable, "-m", "celery", "--app", "tests.faults.quick_app"]
        quiet = ["--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
        commands = {
            "redis": ["redis-server", "--port", str(self.broker_port), "--save", "", "--appendonly", "no",
                      "--bind", "127.0.0.1", "--dir", str(self.home)],
            "sender": [*celery, "worker", "-n", "sender@%h", "-Q", "send", "-c", "2", *quiet],
            "planner": [*celery, "worker", "-n", "planner@%h", "-Q", "plan,match,housekeeping", "-c", "1", *quiet],
            "beat": [*celery, "beat", "--schedule", str(self.home / "beat-1"), "--loglevel", "WARNING"],
            "second beat": [*celery, "beat", "--schedule", str(self.home / "beat-2"), "--loglevel", "WARNING"],
        }  # fmt: skip
        with (self.home / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                commands[name], env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def open(self) -> None:
        for name in ("redis", "sender", "planner", "beat", "second beat"):
            self.start(name)

    def close(self) -> None:
        for name, child in self.children.items():
            child.send_signal(signal.SIGTERM if name == "redis" else signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def watch(self) -> None:
        """Start again what ended by itself, as any supervisor does: Celery gives up when Redis goes at a bad moment."""
        for name, child in list(self.children.items()):
            if child.poll() is not None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                self.start(name)

    # ---- what may happen ---------------------------------------------------------------------------------------------

    def kill(self, victim: str) -> None:
        """SIGKILL; see :data:`VICTIMS`."""
        if victim == "PostgreSQL":
            postmaster = int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            deadline = time.monotonic() + 60
            while not self.database.revive():
                assert time.monotonic() < deadline, "PostgreSQL does not start again"
                time.sleep(0.05)
        elif victim == "Redis emptied":
            with suppress(redis.RedisError):
                redis.Redis(port=self.broker_port).flushall()
        elif victim == "a sender's process":
            # Celery puts another in its place.
            with suppress(psutil.Error):
                processes = psutil.Process(self.children["sender"].pid).children()
                if processes:
                    self.draw.choice(processes).kill()
        elif victim == "both schedulers":
            self._kill_whole("beat")
            self._kill_whole("second beat")
        else:
            self._kill_whole(victim.lower())

    def _kill_whole(self, name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.children[name].pid, signal.SIGKILL)
        self.children[name].wait()
        self.start(name)


VICTIMS = {"a sender's process": 45, "sender": 10, "planner": 10, "both schedulers": 5, "PostgreSQL": 15, "Redis": 10,
           "Redis emptied": 5}  # fmt: skip
"""Shares of a hundred."""


@contextmanager
def house(readers: int, draw: random.Random, slowest: float) -> Iterator[House]:
    """A service with so many readers of one interest, all processes up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        broker_port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="paperround-faults-"))
    settings = Settings(home=folder / "home")
    try:
        with judging(slowest) as judge, open_ready(settings) as database:
            _enrol(database, settings, readers)
            built = House(settings.home, database, judge, broker_port, draw)
            built.open()
            try:
                yield built
            finally:
                built.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _enrol(database: Database, settings: Settings, readers: int) -> None:
    first = factories.reader(database, settings, "r1@example.org", queries=["robots"])
    with database.connection() as connection:
        connection.execute(
            text("""
                INSERT INTO reader (email, address_key, state, paper_limit, next_digest_at)
                SELECT 'r' || n || '@example.org', 'r' || n || '@example.org', 'active', 5, now() + interval '1 year'
                FROM generate_series(2, :readers) AS n
            """),
            {"readers": readers},
        )
        connection.execute(
            text("""
                INSERT INTO interest (reader_id, query_id, label)
                SELECT reader.id, interest.query_id, interest.label FROM reader, interest
                WHERE interest.reader_id = :first AND reader.id <> :first
            """),
            {"first": first},
        )


def play(built: House, number: int, kills: int) -> Verdict:
    """One round with so many kills while it is under way."""
    judge, draw, database = built.judge, built.draw, built.database
    judge.forget()
    _papers(database, number)
    readers = int(_asked(database, "UPDATE reader SET next_digest_at = now() - interval '1 minute' RETURNING id"))
    started, happened = time.monotonic(), Counter[str]()
    names, weights = list(VICTIMS), list(VICTIMS.values())
    # The moments are shares of the round's mail, so that a kill falls into the round however fast the machine is.
    moments = sorted(draw.uniform(0, 0.95) for _ in range(kills))
    for moment in moments:
        _wait(lambda share=moment: len(judge.taken) >= share * readers, started, built)  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.05))
        victim = draw.choices(names, weights)[0]
        built.kill(victim)
        happened[victim] += 1
    _wait(lambda: _open(database) == 0 and len(judge.taken) >= readers, started, built)
    # What was on its way when the last row was settled, and connections that end when idle.
    time.sleep(0.2)
    repeated = judge.repeated
    return Verdict(
        readers=readers,
        kills=happened,
        lost=readers - len(judge.taken),
        duplicates=repeated.total(),
        other_ids=sum(len(set(ids)) - 1 for ids in judge.ids.values()),
        unheard=judge.unheard.total(),
        inexcusable=(repeated - judge.unheard).total(),
        unsettled=int(_asked(database, "SELECT id FROM delivery WHERE state <> 'sent'")),
        seconds=time.monotonic() - started,
    )


def _papers(database: Database, number: int) -> None:
    """A new paper in an edition, by whomever it is cut: the schedule may be quicker."""
    ingest.ingest(database, factories.Listed(factories.record(f"Robots {number}")), factories.TODAY)
    editions.cut(database)


def _wait(until: Callable[[], bool], started: float, built: House) -> None:
    while not until():
        if time.monotonic() - started > ROUND_SECONDS:
            logs = "\n".join(
                f"== {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in built.home.glob("*.log")
            )
            raise AssertionError(f"the round does not end: {built.judge.taken.total()} taken\n{logs}")
        built.watch()
        time.sleep(0.01)


def _open(database: Database) -> int:
    return int(
        _asked(
            database,
            "SELECT id FROM delivery WHERE state IN ('queued', 'deferred', 'sending', 'uncertain')"
            " UNION ALL SELECT id FROM reader WHERE next_digest_at <= now()",
        )
    )


def _asked(database: Database, statement: str) -> int:
    """How many rows; a database that was just killed is asked again."""
    for _ in range(100):
        try:
            with database.connection() as connection:
                return len(connection.execute(text(statement)).all())
        except DBAPIError:
            time.sleep(0.1)
    raise AssertionError("the database does not answer")


def run(kills: int, readers: int, seed: int, per_round: int, slowest: float = 0.02) -> list[Verdict]:
    """Rounds until so many kills have happened."""
    draw = random.Random(seed)
    verdicts: list[Verdict] = []
    with house(readers, draw, slowest) as built:
        left = kills
        while left:
            now = min(per_round, left)
            verdicts.append(play(built, len(verdicts) + 1, now))
            left -= now
            sys.stderr.write(f"round {len(verdicts)}: {verdicts[-1]}\n")
    return verdicts


def table(verdicts: list[Verdict], seed: int) -> str:
    """The figures as a table in Markdown."""
    kills = sum((each.kills for each in verdicts), Counter[str]())
    lines = [
        "| killed | times |", "|---|---|", *(f"| {name} | {kills[name]} |" for name in VICTIMS), "",
        "| over all rounds | |", "|---|---|",
        f"| rounds × readers | {len(verdicts)} × {verdicts[0].readers:,} |",
        f"| mails due | {sum(each.readers for each in verdicts):,} |",
        f"| lost | {sum(each.lost for each in verdicts)} |",
        f"| answers on the wire at the kills | {sum(each.unheard for each in verdicts)} |",
        f"| duplicates | {sum(each.duplicates for each in verdicts)} |",
        f"| duplicates whose answer had been heard | {sum(each.inexcusable for each in verdicts)} |",
        f"| duplicates under another Message-ID | {sum(each.other_ids for each in verdicts)} |",
        f"| deliveries not recorded as sent in the end | {verdicts[-1].unsettled} |",
        f"| minutes | {sum(each.seconds for each in verdicts) / 60:.1f} |",
        f"| seed | {seed} |",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--readers", type=int, default=2_000)
    parser.add_argument("--per-round", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    wanted = parser.parse_args()
    sys.stdout.write(f"seed {wanted.seed}\n")
    sys.stdout.flush()
    verdicts = run(wanted.kills, wanted.readers, wanted.seed, wanted.per_round)
    sys.stdout.write(table(verdicts, wanted.seed) + "\n")
    bad = sum(each.lost + each.inexcusable + each.other_ids for each in verdicts)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
