"""`paperround dkim`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.cli.door import console, print_json
from service.cli.papers import Json
from service.delivery import dkim as signing
from service.delivery.dkim import SigningKey
from service.settings import load


def dkim(
    make: Annotated[
        Path | None, typer.Option(help="Make a private RSA key in this file, which must not exist.")
    ] = None,
    ed25519: Annotated[
        bool, typer.Option("--ed25519", help="With --make: an Ed25519 key, for a second signature.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the DNS records that let receivers verify our signatures, and make a key. The private key is never shown."""
    settings = load()
    setting = "PAPERROUND_DKIM_SECOND_KEY_FILE" if ed25519 else "PAPERROUND_DKIM_KEY_FILE"
    if make is not None:
        domain = signing.signing_domain(settings)
        signing.make_key(make, ed25519=ed25519)
        selector = settings.dkim_second_selector if ed25519 else settings.dkim_selector
        records = [SigningKey(selector, signing.read_key(make, str(make))).record(domain)]
    else:
        signer = signing.configured(settings)
        records = signer.records if signer else []
    if json:
        print_json([asdict(record) for record in records])
        return
    if not records:
        console.print("Mail is not signed here. To sign it: `paperround dkim --make FILE`", highlight=False)
        return
    for record in records:
        console.print(record.zone_line, highlight=False, markup=False, soft_wrap=True)
    if make is not None:
        console.print(f"\nOnce that is published, set {setting}={make.resolve()}", highlight=False, soft_wrap=True)
