"""Lists of readers: in from a file, out to a file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from service.cli.door import complain, console, opened, print_json, progress, written_whole
from service.cli.papers import Json
from service.operators import audit
from service.operators.audit import Act
from service.subscribers import export, importing
from service.subscribers.accounts import Preferences
from service.subscribers.importing import ImportOptions, ImportReport, Shape


def import_readers(  # noqa: PLR0917 (typer names each option itself)
    file: Annotated[Path, typer.Argument(help="CSV with a header: ours, listmonk's, Mailchimp's, or your own.")],
    consent: Annotated[
        str, typer.Option(help="How these readers agreed to be mailed, in your words; recorded for each.")
    ],
    column: Annotated[
        list[str] | None, typer.Option("--map", help="'Their column=field', for example 'Contact=email'; repeatable.")
    ] = None,
    form: Annotated[Shape | None, typer.Option("--format", help="Whose export it is; told from the header.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="For rows without interests; repeatable.")] = None,
    hour: Annotated[int, typer.Option(help="For rows without an hour.")] = 7,
    timezone: Annotated[str, typer.Option(help="For rows without a time zone.")] = "UTC",
    bad_rows: Annotated[Path | None, typer.Option(help="Where to list bad rows. Default: beside the file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything, then take it back.")] = False,
    json: Json = False,
) -> None:
    """Enter the readers of a list whose consent you hold. Killed, it goes on where it stopped when run again."""
    options = ImportOptions(
        consent=consent,
        mapping=dict(_pair(each) for each in column or []),
        shape=form,
        topics=tuple(topic or ()),
        preferences=Preferences(hour=hour, timezone=timezone),
        dry_run=dry_run,
        bad_rows=bad_rows or file.with_suffix(".bad-rows.csv"),
    )

    def note(session: Session, report: ImportReport | None) -> None:
        if report is None:
            audit.record(session, None, Act.IMPORT_BEGUN, f"file {file.name}", f"consent: {consent}")
        else:
            audit.record(session, None, Act.READERS_IMPORTED, f"file {file.name}", _numbers(report))

    with opened() as (settings, database), progress(json) as tell:
        step = (lambda rows: tell("rows", rows)) if tell else None
        report = importing.run(database, settings, file, options, on_progress=step, note=note)
    if json:
        print_json({**asdict(report), "bad_rows": str(options.bad_rows), "dry_run": dry_run})
        return
    resumed = f" (went on at row {report.resumed_at + 1})" if report.resumed_at else ""
    console.print(
        f"{'Would have entered' if dry_run else 'Entered'} {_numbers(report, resumed)}",
        highlight=False,
        soft_wrap=True,
    )
    if report.bad:
        complain(f"{report.bad} rows were not taken; each with its reason in {options.bad_rows}")


def export_readers(
    file: Annotated[Path | None, typer.Argument(help="Where to write; without it, standard output.")] = None,
    form: Annotated[export.Form, typer.Option("--format", help="csv can be imported again.")] = export.Form.CSV,
) -> None:
    """Write every reader with their preferences and interests."""
    with opened() as (_, database), database.transaction() as session:
        audit.record(session, None, Act.READERS_EXPORTED, f"file {file.name}" if file else "", f"as {form}")
        if file is None:
            export.export(database, sys.stdout.buffer, form)
            return
        with written_whole(file) as opened_file:
            export.export(database, opened_file, form)
    console.print(f"Readers are in {file}", highlight=False)


def _pair(written: str) -> tuple[str, str]:
    theirs, sign, ours = written.rpartition("=")
    if not sign:
        raise typer.BadParameter(f"“{written}”: write it like 'Their column=email'", param_hint="--map")
    return theirs, ours


def _numbers(report: ImportReport, resumed: str = "") -> str:
    return (
        f"{report.entered} readers from {report.rows} rows{resumed}:"
        f" {report.known} known already, {report.suppressed} not to be mailed, {report.bad} bad"
    )
