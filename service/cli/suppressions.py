"""Addresses that must not be mailed, for the operator."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy.orm import Session

from service.cli.door import console, opened, print_json
from service.cli.papers import Json
from service.operators import audit
from service.operators.audit import Act
from service.settings import Settings
from service.subscribers import accounts, addresses, returned, suppression
from service.subscribers.accounts import AccountError

app = typer.Typer(help="List, add and lift suppressions.", no_args_is_help=True)


@app.command("list")
def list_suppressions(
    email: Annotated[str | None, typer.Argument(help="Only this address's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 1_000,
    json: Json = False,
) -> None:
    """Suppressions, newest first. They hold hashes: give an address to ask about it."""
    with opened() as (settings, database), database.transaction() as session:
        if email is not None:
            one = suppression.find(session, addresses.hashed(settings, addresses.parse(email).key))
            found = [one] if one else []
        else:
            found = suppression.listing(session, limit=limit)
        counts = suppression.count(session)
    if json:
        print_json(
            [
                {
                    "address_hash": each.address_hash.hex(),
                    "reason": each.reason,
                    "detail": each.detail,
                    "at": each.at,
                    "trial_until": each.trial_until,
                }
                for each in found
            ]
        )
        return
    table = Table("address (hash)", "reason", "detail", "since (UTC)", "on trial until", box=None)
    for each in found:
        trial = f"{each.trial_until:%Y-%m-%d %H:%M}" if each.trial_until else "—"
        table.add_row(each.address_hash.hex()[:16], each.reason, each.detail, f"{each.at:%Y-%m-%d %H:%M}", trial)
    console.print(table)
    totals = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))
    console.print(f"{len(found)} shown of {sum(counts.values())}" + (f" ({totals})" if totals else ""), highlight=False)


@app.command()
def add(
    email: str,
    detail: Annotated[str, typer.Option(help="Why, for the record. No names or addresses.")] = "",
) -> None:
    """Bar an address for good; a reader of this address is unsubscribed."""
    with opened() as (settings, database), database.transaction() as session:
        subject = _named(session, settings, email)
        returned.suppress(session, settings, email, detail)
        audit.record(session, None, Act.ADDRESS_SUPPRESSED, subject, detail)
    console.print("The address is suppressed.")


@app.command()
def lift(email: str) -> None:
    """Let an address be mailed again. A reader whom a bounce stopped is active again; one who complained must subscribe
    anew."""
    with opened() as (settings, database), database.transaction() as session:
        if not returned.lift(session, settings, email):
            raise AccountError("this address is not suppressed: nothing to lift")
        audit.record(session, None, Act.SUPPRESSION_LIFTED, _named(session, settings, email))
    console.print("The suppression is lifted.")


def _named(session: Session, settings: Settings, email: str) -> str:
    """An address in the log: by its reader, else by its hash as `list` shows it. Raises AddressError."""
    reader = accounts.find(session, email)
    if reader is not None:
        return f"reader {reader.id}"
    return f"address {addresses.hashed(settings, addresses.parse(email).key).hex()[:16]}"
