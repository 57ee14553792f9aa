"""Readers, for the operator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy.orm import Session

from service.cli import lists
from service.cli.door import complain, console, opened, print_json
from service.cli.papers import Json
from service.doorbell import Task, doorbell
from service.operators import audit
from service.operators.audit import Act
from service.overview import story
from service.subscribers import accounts, erasure, interests
from service.subscribers.accounts import AccountError, Preferences, ReaderView, Signup
from service.subscribers.consent import Visit

app = typer.Typer(help="List, add, show and remove readers.", no_args_is_help=True)
_PAGE = 1_000

app.command("import")(lists.import_readers)
app.command("export")(lists.export_readers)


@app.command("list")
def list_readers(json: Json = False) -> None:
    """All readers, oldest first."""
    with opened() as (_, database):
        found: list[ReaderView] = []
        while True:
            with database.transaction() as session:
                page = accounts.listing(session, after_id=found[-1].id if found else 0, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                break
    if json:
        print_json([asdict(reader) for reader in found])
        return
    table = Table("id", "address", "state", "hour", "time zone", "next digest (UTC)", box=None)
    for reader in found:
        due = f"{reader.next_digest_at:%Y-%m-%d %H:%M}" if reader.next_digest_at else "—"
        table.add_row(str(reader.id), reader.email, reader.state, f"{reader.hour}:00", reader.timezone, due)
    console.print(table)
    console.print(f"{len(found)} readers")


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
    hour: Annotated[int, typer.Option(help="Hour of the digest, 0 to 23, in the reader's time zone.")] = 7,
    timezone: Annotated[str, typer.Option(help="IANA name, for example Europe/Berlin.")] = "UTC",
    limit: Annotated[int | None, typer.Option(help="Papers in a mail, at most.")] = None,
    json: Json = False,
) -> None:
    """Add a reader. Without topic or query they follow the Daily Papers."""
    with opened() as (settings, database):
        with database.transaction() as session:
            wishes = [*interests.from_topics(session, topic or []), *interests.from_queries(query or [])]
            signup = Signup(
                email=email,
                wishes=wishes,
                preferences=Preferences(hour=hour, timezone=timezone, paper_limit=limit),
                visit=Visit("paperround readers add"),
            )
            enter = accounts.add_confirmed if confirmed else accounts.subscribe
            reader_id = enter(session, settings, signup)
            reader = accounts.get(session, reader_id)
            how = "with their consent" if confirmed else "a confirmation mail follows"
            audit.record(session, None, Act.READER_ADDED, f"reader {reader_id}", how)
        if not confirmed:
            doorbell(settings).ring(Task.SEND_DUE)
    if reader is None:
        raise AccountError(f"{email} was removed at the same moment: add it again")
    if json:
        print_json(asdict(reader))
    else:
        console.print(f"{reader.email} is {reader.state} (reader {reader.id})", highlight=False, markup=False)


@app.command()
def show(email: str, json: Json = False) -> None:
    """One reader's story: state, schedule, interests, consent, mails, what came back."""
    with opened() as (settings, database), database.transaction() as session:
        told = story.of(session, settings, _found(session, email).id)
    if told is None:
        raise AccountError(f"{email} was removed at the same moment")
    reader, followed, returns, barred = told.reader, told.interests, told.returns, told.suppressed
    if json:
        more = {
            "interests": [asdict(each) for each in followed],
            "suppressed": barred.reason if barred else None,
            "returns": [asdict(each) for each in returns],
            "consent": [asdict(each) for each in told.consent],
            "digests": [asdict(each) for each in told.digests],
            "deliveries": [asdict(each) for each in told.deliveries],
            "feedback": [asdict(each) for each in told.feedback],
        }
        print_json({**asdict(reader), **more})
        return
    console.print(f"{reader.email}: {reader.state}, at {reader.hour}:00 {reader.timezone}", markup=False)
    table = Table("", "interest", "query", box=None)
    for each in followed:
        table.add_row("mutes" if each.muted else "follows", each.label, each.canonical)
    console.print(table)
    if barred is not None:
        console.print(f"Suppressed since {barred.at:%Y-%m-%d}: {barred.reason} {barred.detail}", markup=False)
    if told.consent:
        agreed = Table("agreed (UTC)", "kind", "through", "wording", box=None)
        for consent in told.consent:
            agreed.add_row(f"{consent.at:%Y-%m-%d %H:%M}", consent.kind, consent.origin, consent.wording)
        console.print(agreed)
    if told.deliveries:
        mails = Table("mail (UTC)", "kind", "state", "tries", "last word", box=None)
        for mail in told.deliveries:
            tries = str(mail.attempts)
            mails.add_row(f"{mail.created_at:%Y-%m-%d %H:%M}", mail.kind, mail.state, tries, escape(mail.reply or ""))
        console.print(mails)
    if returns:
        back = Table("came back (UTC)", "kind", "code", "by", "words", box=None)
        for event in returns:
            back.add_row(f"{event.at:%Y-%m-%d %H:%M}", event.kind, event.code, event.source, escape(event.diagnostic))
        console.print(back)


@app.command()
def remove(email: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a reader and everything about them but the record of their consent."""
    if not yes and not typer.confirm(f"Delete {email}?"):
        complain("nothing was deleted")
        raise typer.Exit(1)
    with opened() as (settings, database), database.transaction() as session:
        reader = _found(session, email)
        erasure.erase(session, settings, reader.id, Visit("paperround readers remove"))
        audit.record(session, None, Act.READER_REMOVED, f"reader {reader.id}")


def _found(session: Session, email: str) -> ReaderView:
    reader = accounts.find(session, email)
    if reader is None:
        raise AccountError(f"there is no reader {email}: `paperround readers list` shows them all")
    return reader
