"""What every command shares: settings, the open database, the local mailbox where there is no relay, output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import orjson
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service import logs, tracing
from service.backup import BackupError
from service.database import Database, DatabaseError
from service.delivery.mailbox import Mailbox
from service.mails.note import NoteError
from service.matching.language import QueryError
from service.operators.accounts import OperatorError
from service.papers.record import SourceError
from service.readiness import open_ready
from service.returns.imap import MailboxError
from service.rounds import Tell
from service.settings import Settings, SettingsError, load
from service.subscribers.accounts import AccountError
from service.subscribers.addresses import AddressError
from service.subscribers.importing import ImportRefused
from service.subscribers.importing.columns import ColumnsError
from service.subscribers.interests import InterestError
from service.subscribers.schedule import ScheduleError
from service.subscribers.topics.catalogue import CatalogueError
from service.up.house import UpError


class OutputError(Exception):
    """A file that cannot be written. One line."""


USER_ERRORS: tuple[type[Exception], ...] = (
    SettingsError,
    DatabaseError,
    SourceError,
    QueryError,
    AccountError,
    AddressError,
    BackupError,
    CatalogueError,
    ColumnsError,
    ImportRefused,
    InterestError,
    MailboxError,
    NoteError,
    OperatorError,
    OutputError,
    ScheduleError,
    UpError,
)
"""Errors a person can act on: shown as one line, never as a traceback."""

console = Console()
_errors = Console(stderr=True)


def complain(message: str) -> None:
    _errors.print(f"paperround: {message}", style="red", highlight=False, markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")


@contextmanager
def opened() -> Iterator[tuple[Settings, Database]]:
    """Settings and the database, ready for work."""
    settings = load()
    logs.configure(settings, quiet=True)
    tracing.start(tracing.Process.CLI)
    with open_ready(settings) as database:
        yield settings, database


@contextmanager
def opened_for_sending() -> Iterator[tuple[Settings, Database]]:
    """As :func:`opened`; in embedded mode the local mailbox answers too, started here if `up` does not run it."""
    with opened() as (settings, database), Mailbox.running(settings):
        yield settings, database


@contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file that is whole or not there: written beside and then moved. It holds addresses, so only its owner can read
    it. Raises :class:`OutputError`."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened_file:
            yield opened_file
        draft.replace(file)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def progress(quiet: bool) -> Iterator[Tell | None]:
    """A progress display on standard error; none for machines."""
    if quiet or not _errors.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_errors, transient=True) as display:
        tasks = {}

        def tell(step: str, count: int) -> None:
            if step not in tasks:
                tasks[step] = display.add_task(step, total=None)
            display.update(tasks[step], completed=count)

        yield tell
