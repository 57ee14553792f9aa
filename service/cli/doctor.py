"""`paperround doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table

from service.cli.door import console, print_json
from service.cli.papers import Json
from service.doctor import Verdict, examine
from service.settings import load

_MARKS = {Verdict.OK: "[green]ok[/]", Verdict.WARNING: "[yellow]warning[/]", Verdict.FAILURE: "[red]failure[/]"}


def doctor(json: Json = False) -> None:
    """Check everything that mail depends on, from the settings to the DNS, and say what to do. Exit 1 on a failure.

    Relays are greeted and logged in to; no mail is sent. The DNS, the site's own address and a source are asked.
    """
    findings = list(examine(load()))
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table(box=None, show_header=False)
        for finding in findings:
            table.add_row(_MARKS[finding.verdict], finding.check, finding.detail)
        console.print(table)
    if any(finding.verdict is Verdict.FAILURE for finding in findings):
        raise typer.Exit(1)
