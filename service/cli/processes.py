"""Commands that run for long: the whole house, or one of its processes."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from service import logs
from service.cli.door import console, opened, print_json
from service.cli.papers import Json
from service.database import Database
from service.delivery.mailbox import Mailbox
from service.doorbell import Queue
from service.readiness import open_ready, prepare
from service.returns import imap
from service.returns import inbound as listener
from service.settings import SettingsError, load
from service.up import house


def up() -> None:
    """Run everything on this machine: database, site, workers, schedule, mailbox. Ctrl-C stops it."""
    settings = load()
    logs.configure(settings, quiet=True)
    house.up(settings, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


def web() -> None:
    """Serve the site."""
    from service.web.server import serve  # noqa: PLC0415 (every other command begins a quarter of a second sooner)

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


def inbound() -> None:
    """Listen for what comes back: bounces, complaints, requests by mail (docs/returns.md)."""
    settings = load()
    logs.configure(settings)
    with open_ready(settings, own=False) as database:
        try:
            listener.serve_forever(database, settings)
        except OSError as error:
            raise SettingsError(
                f"port {settings.inbound_port} on {settings.inbound_host} cannot be used ({error.strerror}):"
                " set PAPERROUND_INBOUND_PORT or PAPERROUND_INBOUND_HOST"
            ) from error


def read_returns(json: Json = False) -> None:
    """Read the mailbox of PAPERROUND_IMAP_URL now, as the schedule does."""
    with opened() as (settings, database):
        if settings.imap_url is None:
            raise SettingsError("PAPERROUND_IMAP_URL is missing: name the mailbox, as docs/returns.md tells")
        report = imap.read_mailbox(database, settings)
    if json:
        print_json(asdict(report))
    else:
        console.print(
            f"{report.taken} taken, {report.ignored} without need for action, {report.unknown} put aside for a person,"
            f" {report.left} left for the next time",
            highlight=False,
        )


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
