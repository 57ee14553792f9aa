"""The whole installation to a file, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service import backup as backups
from service import logs, rounds
from service.cli.door import complain, console, opened, print_json, progress
from service.cli.papers import Json
from service.cli.processes import Grant
from service.database import Database, roles
from service.operators import audit
from service.operators.audit import Act
from service.readiness import prepare
from service.settings import SettingsError, load
from service.subscribers import hash_key


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write; it must not be there yet.")],
    json: Json = False,
) -> None:
    """Write database and secret to one file, while everything runs."""
    # Recorded if it came about: the file itself holds what was before.
    with opened() as (settings, database), database.transaction() as session:
        audit.record(session, None, Act.BACKED_UP, f"file {file.name}")
        manifest = backups.backup(database, settings, file)
    if json:
        print_json(asdict(manifest))
    else:
        console.print(f"{manifest.readers} readers and {manifest.deliveries} deliveries are in {file}", highlight=False)


def restore(
    file: Annotated[Path, typer.Argument(help="What `paperround backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Give up what the database holds now.")] = False,
    assume_delivered: Annotated[
        bool,
        typer.Option(
            "--assume-delivered",
            help="Read the sources, and take it that everybody was mailed what is there.",
        ),
    ] = False,
    grant: Grant = False,
    json: Json = False,
) -> None:
    """Put a backup back. Stop Paperround first, every process of it."""
    settings = load()
    logs.configure(settings, quiet=True)
    # The secret is read after it has been put back.
    with Database.open(settings) as database:
        prepare(database)
        manifest = backups.restore(database, settings, file, replace=replace)
        cancelled = 0
        try:
            # With the secrets that were put back.
            hash_key.bind(database, load())
        except SettingsError as error:
            complain(str(error))
        if assume_delivered:
            with progress(json) as tell:
                for report in rounds.gather(database, settings, tell):
                    if report.error:
                        complain(f"{report.source}: {report.error}")
            cancelled = backups.assume_delivered(database)
        if grant:
            roles.grant(database)
        with database.transaction() as session:
            taken = f"; taken for delivered, {cancelled} digests cancelled" if assume_delivered else ""
            audit.record(session, None, Act.RESTORED, f"file {file.name}", f"as of {manifest.made_at}{taken}")
    if json:
        print_json({**asdict(manifest), "cancelled": cancelled})
        return
    console.print(f"Restored {manifest.readers} readers as of {manifest.made_at}", highlight=False)
    if not assume_delivered:
        complain(
            f"digests sent after {manifest.made_at} are not known: if there were any, restore again with"
            " --replace --assume-delivered before you start"
        )
