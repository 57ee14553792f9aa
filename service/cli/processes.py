"""Commands that run for long: the whole house, or one of its processes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from service import logs
from service.cli.door import console
from service.database import Database
from service.delivery.mailbox import Mailbox
from service.doorbell import Queue
from service.readiness import open_ready, prepare
from service.settings import load
from service.up import house
from service.web.server import serve


def up() -> None:
    """Run everything on this machine: database, site, workers, schedule, mailbox. Ctrl-C stops it."""
    settings = load()
    logs.configure(settings, quiet=True)
    house.up(settings, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


def web() -> None:
    """Serve the site."""
    settings = load()
    logs.configure(settings)
    with open_ready(settings, own=False) as database:
        serve(settings, database)


def worker(
    queues: Annotated[list[Queue] | None, typer.Option("--queue", "-Q", help="Only these queues; repeatable.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 2,
) -> None:
    """Run a Celery worker."""
    load().check_production()
    names = ",".join(queue.value for queue in queues or list(Queue))
    _celery("worker", "--queues", names, "--concurrency", str(concurrency), "--without-gossip", "--without-mingle")


def beat() -> None:
    """Run the schedule: one per installation."""
    settings = load()
    settings.check_production()
    folder = settings.home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    _celery("beat", "--schedule", str(folder / "beat-schedule"))


def mailbox() -> None:
    """Run the local mailbox (embedded mode)."""
    settings = load()
    logs.configure(settings)
    Mailbox.serve_forever(settings)


def migrate() -> None:
    """Bring the database to this version's schema and topics."""
    settings = load()
    with Database.open(settings) as database:
        prepare(database)
    console.print("The database is up to date.")


def _celery(*arguments: str) -> None:
    # Celery replaces this process, so that signals reach it and no parent lingers.
    command = [sys.executable, "-m", "celery", "--app", "workers.app", *arguments, "--loglevel", load().log_level]
    os.execv(sys.executable, command)  # noqa: S606 (our own interpreter and arguments, no shell)
