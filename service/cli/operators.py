"""Operators of the dashboard: who they are, and the way in where a phone or the mail is lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from service.cli.door import console, opened, print_json
from service.cli.papers import Json
from service.database.tables import OperatorRole
from service.operators import accounts, passkeys, sessions, sign_in
from service.operators.accounts import OperatorError, OperatorView
from service.subscribers.tokens import LIFETIME, Purpose

app = typer.Typer(help="Who may use the dashboard at /admin, and as what.", no_args_is_help=True)
Role = Annotated[str, typer.Option(help="owner, editor or viewer.")]


@app.command()
def add(email: str, role: Role) -> None:
    """Let somebody sign in at /admin. The first sign-in sets up their second factor."""
    wanted = _role(role)
    with opened() as (settings, database), database.transaction() as session:
        accounts.add(session, email, wanted, by=None)
    console.print(f"Added as {wanted}. Sign in at {settings.origin}/admin", highlight=False)


@app.command("list")
def list_operators(json: Json = False) -> None:
    """All operators."""
    with opened() as (settings, database), database.transaction() as session:
        found = accounts.listing(session, settings)
    if json:
        print_json([asdict(each) for each in found])
        return
    table = Table("id", "address", "role", "second factor", "signed in", "mail", box=None)
    for each in found:
        codes = f"codes since {each.enrolled_at:%Y-%m-%d}" if each.enrolled_at else ""
        keys = f"passkeys: {each.passkeys}" if each.passkeys else ""
        factor = ", ".join(filter(None, (codes, keys))) or "at the next sign-in"
        table.add_row(str(each.id), each.email, each.role, factor, str(each.sessions), _mail(each))
    console.print(table)


@app.command()
def role(email: str, role: Role) -> None:
    """Change what somebody may do; it counts from their next click."""
    wanted = _role(role)
    with opened() as (_, database), database.transaction() as session:
        accounts.change_role(session, accounts.find(session, email), wanted, by=None)
    console.print(f"Now {wanted}.")


@app.command()
def remove(email: str) -> None:
    """Take somebody's access away, at once."""
    with opened() as (_, database), database.transaction() as session:
        accounts.remove(session, accounts.find(session, email), by=None)
    console.print("Removed and signed out.")


@app.command("reset-totp")
def reset_totp(email: str) -> None:
    """For a lost phone: sign somebody out everywhere, and take no code of its app any more. Passkeys stay."""
    with opened() as (_, database), database.transaction() as session:
        operator_id = accounts.find(session, email)
        accounts.reset_second_factor(session, operator_id, by=None)
        left = len(passkeys.listing(session, operator_id))
    if left:
        console.print(f"Reset. Passkeys that still open the door: {left}; `paperround operators passkeys` lists them.")
    else:
        console.print("Reset. The next sign-in sets up a new second factor.")


@app.command("passkeys")
def list_passkeys(email: str, json: Json = False) -> None:
    """The passkeys of somebody."""
    with opened() as (_, database), database.transaction() as session:
        found = passkeys.listing(session, accounts.find(session, email))
    if json:
        print_json([asdict(each) for each in found])
        return
    table = Table("id", "name", "enrolled", "last used", "opens the door", box=None)
    for each in found:
        used = f"{each.used_at:%Y-%m-%d}" if each.used_at else "never"
        way = "alone, or after a link" if each.alone else "after a link"
        table.add_row(str(each.id), each.name, f"{each.created_at:%Y-%m-%d}", used, way)
    console.print(table)


@app.command("remove-passkey")
def remove_passkey(
    email: str, number: Annotated[int, typer.Argument(metavar="ID", help="As `paperround operators passkeys` shows.")]
) -> None:
    """For a lost device: take a passkey away and sign its operator out everywhere, at once."""
    with opened() as (_, database), database.transaction() as session:
        passkeys.remove_by_command(session, accounts.find(session, email), number)
    console.print("Removed and signed out.")


@app.command("sign-out")
def sign_out(email: str) -> None:
    """End all sessions of somebody."""
    with opened() as (_, database), database.transaction() as session:
        ended = sessions.end(session, accounts.find(session, email), by=None)
    console.print(f"Sessions ended: {ended}.", highlight=False)


@app.command()
def link(email: str) -> None:
    """Print a link to sign in, for when mail does not go out. The second factor is asked for all the same."""
    with opened() as (settings, database), database.transaction() as session:
        made = sign_in.printed(session, settings, accounts.find(session, email))
    minutes = (LIFETIME[Purpose.OPERATOR] or sign_in.PATIENCE).seconds // 60
    console.print(made, highlight=False, soft_wrap=True)
    console.print(f"It works once, for {minutes} minutes.", highlight=False)


def _mail(operator: OperatorView) -> str:
    """Whether links reach them."""
    back = operator.came_back
    words = f"{back.kind} {back.code} on {back.at:%Y-%m-%d}" if back is not None else ""
    return ", ".join(filter(None, ("suppressed" if operator.suppressed else "", words))) or "goes out"


def _role(written: str) -> OperatorRole:
    try:
        return OperatorRole(written)
    except ValueError:
        raise OperatorError(f"“{written[:20]}” is no role: owner, editor or viewer") from None
