"""Several sender processes for one round."""

from __future__ import annotations

import os
import signal
from collections import Counter

import psutil
import pytest

from service.database import Database
from service.delivery import crew, recovery
from service.delivery.sender import SendReport
from service.digests import plan
from service.settings import Settings
from tests import factories
from tests.delivery.servers import sink
from tests.delivery.test_sender import aimed, states_of

pytestmark = pytest.mark.slow

READERS = 160


@pytest.fixture
def planned(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Database:
    for number in range(READERS):
        factories.reader(database, settings, f"r{number}@example.org", queries=["robots"])
    factories.edition(database, factories.record("Robots"))
    assert plan.plan_due(database, settings, everyone=True).digests == READERS
    monkeypatch.setattr(crew, "WORTH_A_PROCESS", READERS // 2)
    return database


def test_the_report_and_the_progress_are_those_of_all(planned: Database, settings: Settings) -> None:
    heard: list[int] = []
    with sink() as server:
        target = aimed(settings, server, send_batch=10, send_connections=1)
        report = crew.send_due_together(planned, target, processes=2, on_progress=heard.append)
    assert report == SendReport(sent=READERS)
    assert set(Counter(server.recipients).values()) == {1}
    assert heard[-1] <= READERS


def test_what_one_of_the_crew_leaves_when_it_dies_is_sent_by_the_others(planned: Database, settings: Settings) -> None:
    killed: list[int] = []

    def kill_the_other(_settled: int) -> None:
        if not killed:
            killed.extend(child.pid for child in psutil.Process().children() if "spawn" in " ".join(child.cmdline()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with sink() as server:
        target = aimed(settings, server, send_batch=10, send_connections=1)
        crew.send_due_together(planned, target, processes=2, on_progress=kill_the_other)
        recovery.sweep(planned, target)
        crew.send_due_together(planned, target)
    assert killed
    assert set(server.recipients) == {f"r{number}@example.org" for number in range(READERS)}
    assert set(states_of(planned).values()) == {"sent"}
