"""Celery over a real broker: files, and Redis where it is on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import Delivery, DeliveryState, Edition, Match, TaskRun
from service.delivery.mailbox import Mailbox
from service.doorbell import Doorbell, Queue, Task
from service.papers import ingest
from service.settings import Settings
from service.subscribers import accounts, interests
from service.subscribers.accounts import Signup
from service.subscribers.consent import Visit
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(params=["files", pytest.param("redis", marks=pytest.mark.redis)])
def working(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings under which a worker process runs, sending to a local mailbox."""
    broker = request.getfixturevalue("redis_url") if request.param == "redis" else None
    box = settings.model_copy(update={"database_url": None, "smtp_url": None})
    with Mailbox.running(box):
        port = (tmp_path / "run" / "mailbox.port").read_text().split()[0]
        used = settings.model_copy(update={"broker_url": broker, "smtp_url": f"smtp://127.0.0.1:{port}"})
        assert used.secret is not None
        environment = os.environ | {
            "PAPERROUND_HOME": str(used.home),
            "PAPERROUND_DATABASE_URL": used.database_url or "",
            "PAPERROUND_SECRET": used.secret.get_secret_value(),
            "PAPERROUND_SMTP_URL": used.smtp_url or "",
            "PAPERROUND_BROKER_URL": broker or "",
            "PAPERROUND_SITE_URL": used.site_url,
        }
        with (tmp_path / "worker.log").open("wb") as log:
            command = [sys.executable, "-m", "service.cli", "worker", "--concurrency", "1"]
            worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            yield used
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(40) == 0, (tmp_path / "worker.log").read_text()


def until(database: Database, statement: object, expected: object, log: Path) -> None:
    give_up = time.monotonic() + 60
    while True:
        with database.transaction() as session:
            found = session.scalars(statement).all()  # type: ignore[call-overload]  # any select of one column
        if found == expected:
            return
        assert time.monotonic() < give_up, (found, log.read_text())
        time.sleep(0.1)


def test_rings_are_heard_in_every_queue_and_carry_a_reader_from_subscribing_to_the_digest(
    working: Settings, database: Database, tmp_path: Path
) -> None:
    bell, log = Doorbell(working), tmp_path / "worker.log"
    with database.transaction() as session:
        signup = Signup("ada@example.org", interests.from_queries(["robots"]), visit=Visit("test"))
        reader = accounts.subscribe(session, working, signup)
    bell.ring(Task.SEND_DUE)
    until(database, select(Delivery.state), [DeliveryState.SENT], log)

    with database.transaction() as session:
        accounts.confirm(session, working, reader, Visit("test"))
    ingest.ingest(database, factories.Listed(factories.record("Robots")), factories.TODAY)
    bell.ring(Task.MATCH_NEW)
    until(database, select(func.count()).select_from(Edition), [1], log)
    until(database, select(func.count()).select_from(Match), [1], log)
    # The edition rings the planner; the reader is due since they confirmed.
    until(database, select(Delivery.state).order_by(Delivery.id), [DeliveryState.SENT] * 3, log)

    with database.connection() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'uncertain' WHERE kind = 'digest'")
    bell.ring(Task.SWEEP_LEASES)
    until(
        database, select(Delivery.state).order_by(Delivery.id), [*[DeliveryState.SENT] * 2, DeliveryState.QUEUED], log
    )
    bell.ring(Task.PRUNE)
    bell.ring(Task.SEND_DUE)
    until(database, select(Delivery.state).order_by(Delivery.id), [DeliveryState.SENT] * 3, log)
    told = select(TaskRun.task).where(TaskRun.error.is_(None)).distinct().order_by(TaskRun.task)
    until(database, told, ["housekeeping.prune", "housekeeping.sweep_leases", "match.new", "plan.due", "send.due"], log)


def test_every_task_waits_in_the_queue_of_its_first_word() -> None:
    assert {task.queue for task in Task} == set(Queue)


def test_a_broker_that_is_down_breaks_nothing_and_keeps_nobody_waiting(settings: Settings) -> None:
    bell = Doorbell(settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}))
    first, second = bell.ring(Task.SEND_DUE), bell.ring(Task.SEND_DUE)
    assert first is second, "the ring on its way serves"
    assert not first.done()
    assert first.result(timeout=60) is None
