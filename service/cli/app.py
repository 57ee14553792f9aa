"""The command tree, and the one place where an error becomes a line and an exit status."""

from __future__ import annotations

import sys

import typer

from service import __version__
from service.cli import (
    backups,
    dkim,
    doctor,
    notes,
    operators,
    papers,
    processes,
    readers,
    record,
    secret,
    suppressions,
    topics,
)
from service.cli.door import USER_ERRORS, complain

app = typer.Typer(
    name="paperround",
    help="New research papers on each reader's own topics, in the inbox, at the hour they chose, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(processes.up)
app.command()(papers.ingest)
app.command()(papers.coverage)
app.command("round")(papers.run_round)
app.command()(papers.preview)
app.add_typer(readers.app, name="readers")
app.add_typer(suppressions.app, name="suppressions")
app.add_typer(topics.app, name="topics")
app.add_typer(notes.app, name="note")
app.add_typer(operators.app, name="operators")
app.add_typer(secret.app, name="secret")
app.command()(record.audit)
app.command("read-returns")(processes.read_returns)
app.command()(doctor.doctor)
app.command()(dkim.dkim)
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(processes.upgrade)
for process in (
    processes.web,
    processes.worker,
    processes.beat,
    processes.inbound,
    processes.mailbox,
    processes.migrate,
):
    app.command(rich_help_panel="Single processes, for a larger installation")(process)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(f"paperround {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 done but something failed, 2 bad input or a setting to mend."""
    try:
        app()
    except USER_ERRORS as error:
        complain(str(error))
        sys.exit(2)
    except BrokenPipeError:
        # The reader of our output went away (`paperround topics | head`): not our trouble.
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
