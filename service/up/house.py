"""The flow of `paperround up`."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from service.readiness import open_ready
from service.settings import Settings
from service.up.first_round import first_round
from service.up.supervisor import Program, Supervisor

_START_SECONDS = 60.0


class UpError(Exception):
    """The house cannot be opened. One line: the thing and the remedy."""


def up(settings: Settings, tell: Callable[[str], None]) -> None:
    """Run everything on this machine until SIGINT or SIGTERM; then stop all of it and return.

    1. Refuse early what cannot work: a taken port, a data folder in use, a server named where we embed.
    2. Start PostgreSQL (owned by this process), migrate, bring the topics in step.
    3. Start mailbox, web, worker and beat as processes; wait until the site answers.
    4. On a new machine, do the first round.
    5. Watch: a child that dies is started again, and so is PostgreSQL.

    Killed at any point, the next start ends the orphans and goes on from the tables.
    """
    if not settings.embedded:
        raise UpError(
            "`paperround up` runs everything on this machine and PAPERROUND_DATABASE_URL names a server: unset it,"
            " or start `paperround web`, `worker` and `beat` by themselves"
        )
    run_folder = settings.home / "run"
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UpError(
            f"the data folder {settings.home} cannot be made ({error.strerror}): set PAPERROUND_HOME"
        ) from error
    with _only_one(run_folder / "up.lock", settings.home), _stop_signals() as stopped:
        supervisor = Supervisor(
            programs=_programs(settings),
            logs=settings.home / "logs",
            record=run_folder / "children.json",
            environment=os.environ | {"PAPERROUND_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"},
            tell=tell,
        )
        supervisor.end_orphans()
        _refuse_taken_port(settings)
        tell(f"Opening the house in {settings.home}")
        with open_ready(settings) as database:
            supervisor.start()
            try:
                _wait_for_site(settings, supervisor, stopped)
                if not stopped():
                    first_round(database, settings, tell)
                if not stopped():
                    tell("")
                    tell(f"  The site      {settings.origin}/")
                    tell(f"  The mailbox   {settings.origin}/mailbox")
                    tell(f"  The logs      {settings.home / 'logs'}")
                    tell("  Ctrl-C stops everything.")
                while not stopped():
                    supervisor.watch()
                    if database.revive():
                        tell("PostgreSQL had died and was started again")
                    time.sleep(0.5)
            finally:
                tell("Stopping")
                supervisor.stop()


def _programs(settings: Settings) -> list[Program]:
    """Children in the order of their start. The local mailbox only where no relay is named, the listener only where
    mail comes back and is not read from a mailbox elsewhere."""
    command = [sys.executable, "-m", "service.cli"]
    programs = [Program("web", [*command, "web"]), Program("worker", [*command, "worker"], grace_seconds=20.0)]
    programs.append(Program("beat", [*command, "beat"]))
    if settings.return_domain and settings.imap_url is None:
        programs.append(Program("inbound", [*command, "inbound"]))
    if settings.smtp_url is None:
        programs.insert(0, Program("mailbox", [*command, "mailbox"]))
    return programs


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise UpError(
                f"port {settings.port} on {settings.host} cannot be used ({error.strerror}): choose another one,"
                f" for example PAPERROUND_PORT={settings.port + 1 if settings.port < 65535 else 8000}"
            ) from error


@contextmanager
def _only_one(path: Path, home: Path) -> Iterator[None]:
    """Hold the data folder against a second `up`; the lock goes with the process, however it ends."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UpError(
                f"another `paperround up` (process {file.read().strip() or 'unknown'}) runs on {home}: stop it, or"
                " set PAPERROUND_HOME to another folder"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into an answer to a question; a second one while stopping changes nothing."""
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_site(settings: Settings, supervisor: Supervisor, stopped: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while not stopped():
        supervisor.watch()
        try:
            socket.create_connection((settings.host, settings.port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise UpError(
                    f"the site did not come up within {_START_SECONDS:.0f} s: read {settings.home / 'logs' / 'web.log'}"
                ) from None
            time.sleep(0.1)
