"""Commands that run for long: the whole house, or one of its processes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service import __version__, logs, tracing
from service import backup as backups
from service.cli.door import console, opened, print_json
from service.cli.papers import Json
from service.database import Database, DatabaseError, migrations, roles
from service.delivery.mailbox import Mailbox
from service.doorbell import Queue
from service.operators import audit
from service.operators.audit import Act
from service.readiness import open_ready, prepare
from service.returns import imap
from service.returns import inbound as listener
from service.settings import Settings, SettingsError, load
from service.subscribers import hash_key
from service.up import house


def up() -> None:
    """Run everything on this machine: database, site, workers, schedule, mailbox. Ctrl-C stops it."""
    settings = load()
    logs.configure(settings, quiet=True)
    tracing.start(tracing.Process.CLI)
    house.up(settings, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


def web() -> None:
    """Serve the site."""
    from service.web.server import serve  # noqa: PLC0415 (every other command begins a quarter of a second sooner)

    settings = load()
    logs.configure(settings)
    tracing.start(tracing.Process.WEB)
    with open_ready(settings, own=False) as database:
        serve(settings, database)


def worker(
    queues: Annotated[list[Queue] | None, typer.Option("--queue", "-Q", help="Only these queues; repeatable.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 2,
) -> None:
    """Run a Celery worker."""
    settings = load()
    settings.check_production()
    # Its tasks open the database each by themselves; a secret that is not the database's is told at once. Where it does
    # not answer yet, they wait for it.
    with suppress(DatabaseError):
        open_ready(settings, own=False).close()
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
    tracing.start(tracing.Process.INBOUND)
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
        with database.transaction() as session:
            audit.record(
                session,
                None,
                Act.RETURNS_READ,
                "",
                ", ".join(f"{number} {what}" for what, number in asdict(report).items()),
            )
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


Grant = Annotated[bool, typer.Option("--grant", help="Give the roles of service/database/grants.sql their rights.")]


def migrate(grant: Grant = False) -> None:
    """Bring the database to this version's schema and topics."""
    settings = load()
    with Database.open(settings) as database:
        _bring_up_to_date(database, settings, migrations.pending(database), grant=grant)
    console.print("The database is up to date.")


def upgrade(
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done; exit 1 if anything.")] = False,
    backup_to: Annotated[Path | None, typer.Option("--backup", help="First write a backup to this file.")] = None,
    grant: Grant = False,
) -> None:
    """After installing a new version: say what is pending, back up, migrate, and look whether all is well.

    Processes of the version before go on working meanwhile (docs/upgrading.md); restart them afterwards.
    """
    settings = load()
    logs.configure(settings, quiet=True)
    with Database.open(settings) as database:
        waiting = migrations.pending(database)
        with database.connection() as connection:
            at = migrations.current(connection)
        if at and not migrations.known(at):
            raise DatabaseError(
                f"the database is at {at}, which a newer version made: install that version; there is no way back but"
                " `paperround restore`"
            )
        console.print(_what_waits(waiting), highlight=False)
        if check:
            raise typer.Exit(1 if waiting else 0)
        if backup_to is not None and at:  # a database without our schema holds nothing of ours
            backups.backup(database, settings, backup_to)
            console.print(f"Backup written to {backup_to}.", highlight=False)
        _bring_up_to_date(database, settings, waiting, grant=grant)
    console.print(
        f"The database is at Paperround {__version__}. Now restart web, worker, beat and inbound, one by one."
    )


def _bring_up_to_date(database: Database, settings: Settings, waiting: list[str], *, grant: bool) -> None:
    prepare(database)
    if settings.embedded or settings.secret is not None:  # else the first process that has it makes the key
        hash_key.bind(database, settings)
    if grant:
        roles.grant(database)
    with database.transaction() as session:
        if waiting:
            audit.record(session, None, Act.MIGRATED, f"to {waiting[-1]}", f"by Paperround {__version__}")
        if grant:
            audit.record(session, None, Act.RIGHTS_GRANTED)


def _what_waits(waiting: list[str]) -> str:
    if not waiting:
        return "No migration is pending."
    return f"{len(waiting)} pending migration{'s' if len(waiting) > 1 else ''}: {', '.join(waiting)}"


def _celery(*arguments: str) -> None:
    # Celery replaces this process, so that signals reach it and no parent lingers.
    command = [sys.executable, "-m", "celery", "--app", "workers.app", *arguments, "--loglevel", load().log_level]
    os.execv(sys.executable, command)  # noqa: S606 (our own interpreter and arguments, no shell)
