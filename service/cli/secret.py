"""Changing PAPERROUND_SECRET: docs/operating.md, "Changing secrets"."""

from __future__ import annotations

from typing import Annotated

import typer

from service import secret_files
from service.cli.door import console, opened
from service.database import Database, DatabaseError, migrations
from service.doctor import secrets as examined
from service.operators import audit, rotation
from service.operators.audit import Act
from service.settings import SettingsError, load
from service.subscribers import hash_key

app = typer.Typer(help="Change the secret that signs; old ones go on verifying.", no_args_is_help=True)

_BY_HAND = """\
The secret comes from the environment. Without a gap:
1. Make a new one: `paperround secret rotate --generate` prints one.
2. Add it to PAPERROUND_OLD_SECRETS and restart every process: from now on all know it.
3. Swap them: the new one becomes PAPERROUND_SECRET, the one of today goes to PAPERROUND_OLD_SECRETS. Restart again.
4. `paperround secret reseal`"""


@app.command()
def rotate(
    generate: Annotated[bool, typer.Option("--generate", help="Only print a new secret; nothing is changed.")] = False,
) -> None:
    """Make a new secret in the data folder and keep the old one beside it; or tell how, where it is a setting."""
    if generate:
        typer.echo(secret_files.new_secret())
        return
    settings = load()
    if not settings.secret_is_a_file:
        console.print(_BY_HAND, highlight=False, markup=False, soft_wrap=True)
        return
    with opened() as (_, database), database.transaction() as session:
        audit.record(session, None, Act.ROTATED)
        secret_files.rotate(settings.home)
    console.print(
        "A new secret signs, the old ones verify. Restart every process, then run `paperround secret reseal`.",
        soft_wrap=True,
    )


@app.command()
def status() -> None:
    """What still needs which old secret."""
    with opened() as (settings, database):
        for finding in examined(database, settings):
            console.print(f"{finding.check}: {finding.detail}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def reseal() -> None:
    """Seal under the new secret what the tables hold sealed. Exit 1 where something cannot be opened."""
    with opened() as (settings, database), database.transaction() as session:
        done = rotation.reseal(session, settings)
    key = "the key of suppressions" if done.hash_key else "no key"
    console.print(f"Sealed anew: {key}, {done.apps} operators' apps.", highlight=False)
    if done.unopened:
        console.print(
            f"{done.unopened} apps are sealed under a secret not listed: `paperround secret status` tells what to do.",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)


@app.command()
def forget() -> None:
    """Drop the old secrets of the data folder, once nothing is sealed under them. Links signed with them are void then:
    to unsubscribe from mails of before the change, too."""
    with opened() as (settings, database), database.transaction() as session:
        found = rotation.state(session, settings)
        if found.hash_key or any(age and number for age, number in found.apps.items()):
            raise SettingsError("something is sealed under an old secret: run `paperround secret reseal` first")
        if settings.secret_is_a_file:
            audit.record(session, None, Act.OLD_SECRETS_DROPPED)
            secret_files.forget(settings.home)
    if settings.secret_is_a_file:
        console.print("The data folder keeps no old secret any more. Restart every process.")
    if settings.old_secrets is not None:
        console.print("Nothing is sealed under an old secret: PAPERROUND_OLD_SECRETS can be taken away.")
    elif not settings.secret_is_a_file:
        console.print("PAPERROUND_OLD_SECRETS lists none.")


@app.command("give-up")
def give_up(
    yes: Annotated[
        bool, typer.Option("--yes", help="The secret is lost for good, and no backup of it is left.")
    ] = False,
) -> None:
    """After the loss of every secret that this database was used with: begin with the present one.

    Readers who are suppressed stay so. Suppressed addresses without a reader are forgotten: who enters one again is
    mailed. Operators' apps cannot be opened any more: `paperround operators reset-totp`.
    """
    settings = load()
    with Database.open(settings) as database:
        if waiting := migrations.pending(database):
            raise DatabaseError(f"the database lacks {len(waiting)} migration(s): run `paperround migrate`")
        with database.transaction() as session:
            try:
                fits = hash_key.fits(session, settings)
            except SettingsError:
                fits = False
            if fits:
                console.print("A secret that is listed is this database's: nothing needs to be given up.")
                return
            if not yes:
                raise SettingsError("suppressions would be forgotten: give --yes if the secret is lost for good")
            there, known = hash_key.give_up(session, settings)
            audit.record(session, None, Act.HASH_KEY_GIVEN_UP, "", f"suppressions: {there}, of readers: {known}")
    console.print(f"Of {there} suppressions, {known} of readers are known again; the others are lost.", highlight=False)
