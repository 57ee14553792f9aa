"""Readers, for the operator."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from service.cli.door import complain, console, opened, print_json
from service.cli.papers import Json
from service.doorbell import Task, doorbell
from service.subscribers import accounts, interests

app = typer.Typer(help="List, add and remove readers.", no_args_is_help=True)


@app.command("list")
def list_readers(json: Json = False) -> None:
    """All readers, oldest first."""


@app.command()
def add(
    email: str,
    topic: Annotated[
        list[str] | None, typer.Option(help="A topic's slug; repeatable. See `paperround topics`.")
    ] = None,
    query: Annotated[list[str] | None, typer.Option(help="A query of the query language; repeatable.")] = None,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="You hold the reader's consent: no confirmation mail is sent.")
    ] = False,
    hour: Annotated[int, typer.Option(min=0, max=23, help="Hour of the digest, in the reader's time zone.")] = 7,
    timezone: Annotated[str, typer.Option(help="IANA name, for example Europe/Berlin.")] = "UTC",
    json: Json = False,
) -> None:
    """Add a reader. Without topic or query they follow the Daily Papers."""
    with opened() as (settings, database):
        with database.transaction() as session:
            wishes = [
                *interests.from_topics(session, topic or []),
                *interests.from_queries(query or []),
            ]
            signup = accounts.Signup(
                email=email, wishes=wishes, hour=hour, timezone=timezone, origin="paperround readers add"
            )
            enter = accounts.add_confirmed if confirmed else accounts.subscribe
            reader_id = enter(session, settings, signup)
        if not confirmed:
            doorbell(settings).ring(Task.SEND_DUE)


@app.command()
def show(email: str, json: Json = False) -> None:
    """One reader: state, schedule, interests."""


@app.command()
def remove(email: str) -> None:
    """Delete a reader and everything about them but the record of their consent."""
