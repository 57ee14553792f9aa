"""The supervisor with real child processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from service.up.supervisor import Program, Recorded, Supervisor

SLEEPER = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*scripts: str, grace_seconds: float = 5.0) -> Supervisor:
        programs = [Program(f"child{n}", [sys.executable, "-c", s], grace_seconds) for n, s in enumerate(scripts)]
        made.append(
            Supervisor(
                programs=programs,
                logs=tmp_path / "logs",
                record=tmp_path / "run" / "children.json",
                environment=dict(os.environ),
                tell=told.append,
            )
        )
        return made[-1]

    told: list[str] = []
    yield make
    for supervisor in made:
        supervisor.stop()


def pids(supervisor: Supervisor) -> list[int]:
    return [row["pid"] for row in supervisor.recorded()]


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "did not come about within 20 s"
        time.sleep(0.02)


def test_a_child_that_dies_is_started_again(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(SLEEPER)
    supervisor.start()
    (first,) = pids(supervisor)
    psutil.Process(first).kill()

    def replaced() -> bool:
        supervisor.watch()
        return pids(supervisor) not in ([], [first])

    until(replaced)


def test_stop_ends_every_child_also_one_that_ignores_the_request(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise(SLEEPER, DEAF, grace_seconds=0.3)
    supervisor.start()
    until(lambda: "deaf" in (tmp_path / "logs" / "child1.log").read_text())
    children = [psutil.Process(pid) for pid in pids(supervisor)]
    supervisor.stop()
    assert [child for child in children if child.is_running()] == []


def test_orphans_of_a_killed_predecessor_are_ended_and_strangers_are_left_alone(
    supervise: Callable[..., Supervisor],
) -> None:
    predecessor = supervise(SLEEPER)
    predecessor.start()
    (orphan,) = [psutil.Process(pid) for pid in pids(predecessor)]
    stranger = Recorded(name="stranger", pid=os.getpid(), born=0.0)  # our number, another birth
    predecessor.write_record([*predecessor.recorded(), stranger])

    assert supervise(SLEEPER).end_orphans() == 1
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_a_child_that_keeps_failing_is_retried_with_growing_pauses(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise("raise SystemExit(3)")
    told: list[str] = []
    supervisor.tell = told.append
    supervisor.start()

    def failed_twice() -> bool:
        supervisor.watch()
        return len(told) >= 2

    until(failed_twice)
    assert "status 3, starting it again in 1 s" in told[0]
    assert "status 3, starting it again in 2 s" in told[1]
