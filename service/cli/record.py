"""The audit log to a file, for whoever must keep it longer than the database does."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from service.cli.door import console, opened, written_whole
from service.operators import audit as log
from service.operators.audit import Act
from service.subscribers.export import Form

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day (UTC), included.")]


def audit(
    file: Annotated[Path | None, typer.Argument(help="Where to write; without it, standard output.")] = None,
    form: Annotated[Form, typer.Option("--format", help="jsonl or csv.")] = Form.JSONL,
    first: Day = None,
    last: Day = None,
) -> None:
    """Write the audit log, the oldest line first, with the addresses of the operators there are."""
    days = (first.date() if first else None, last.date() if last else None)
    with opened() as (_, database), database.transaction() as session:
        if file is None:
            log.export(database, sys.stdout.buffer, form, first=days[0], last=days[1])
        else:
            with written_whole(file) as opened_file:
                number = log.export(database, opened_file, form, first=days[0], last=days[1])
        # After it is read, so that it does not hold itself; before it is told, so that none is told unrecorded.
        log.record(session, None, Act.LOG_EXPORTED, f"file {file.name}" if file else "", f"as {form}")
    if file is not None:
        console.print(f"{number} lines are in {file}", highlight=False)
