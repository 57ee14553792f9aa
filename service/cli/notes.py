"""The editor's note on top of digests."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.door import console, opened, print_json
from service.cli.papers import Json
from service.digests import notes
from service.digests.notes import NoteView
from service.mails.note import NoteError
from service.operators import audit
from service.operators.audit import Act

app = typer.Typer(help="A few words on top of the next digests.", no_args_is_help=True)
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day of the readers' calendar.")]


@app.command()
def save(
    words: Annotated[str, typer.Argument(help="The note, or @FILE. Links are bare https:// addresses.")],
    first: Day = None,
    last: Day = None,
) -> None:
    """Put a note on top of the digests of these days; without days, of everybody's next digest, once."""
    if (first is None) != (last is None):
        raise NoteError("a note for some days needs both --first and --last")
    if words.startswith("@"):
        try:
            words = Path(words[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoteError(f"{words[1:]} cannot be read as text ({error}): name another file") from error
    days = (first.date(), last.date()) if first is not None and last is not None else None
    with opened() as (_, database), database.transaction() as session:
        made = notes.save(session, words, days=days)
        audit.record(session, None, Act.NOTE_SAVED, f"note {made.id}", f"{_when(made)}: {made.words}")
    console.print(f"Note {made.id}: {_when(made)}.", highlight=False)


@app.command("list")
def list_notes(json: Json = False) -> None:
    """The newest notes."""
    with opened() as (_, database), database.transaction() as session:
        found = notes.listing(session)
    if json:
        print_json([asdict(each) for each in found])
        return
    now = datetime.now(UTC)
    table = Table("id", "when", "state", "digests", "words", box=None)
    for each in found:
        state = "withdrawn" if each.withdrawn_at else "over" if each.is_over(now) else "in force"
        table.add_row(str(each.id), _when(each), state, str(each.digests), escape(" ".join(each.words.split())))
    console.print(table)


@app.command()
def withdraw(note: Annotated[int, typer.Argument(help="Its id, as `paperround note list` shows it.")]) -> None:
    """Put a note on no more digests. Those planned before carry it."""
    with opened() as (_, database), database.transaction() as session:
        gone = notes.withdraw(session, note)
        audit.record(session, None, Act.NOTE_WITHDRAWN, f"note {gone.id}")
    console.print(f"Withdrawn. Digests that carry it: {gone.digests}.", highlight=False)


def _when(note: NoteView) -> str:
    return "everybody's next digest" if note.first_day is None else f"{note.first_day} to {note.last_day}"
