"""The catalogue, for the operator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from service.cli.door import console, print_json
from service.cli.papers import Json
from service.subscribers import catalogue


def topics(
    every: Annotated[bool, typer.Option("--all", help="arXiv categories too.")] = False,
    json: Json = False,
) -> None:
    """The topics that readers can choose, by group."""
    shipped = catalogue.load()
    groups = (*shipped.groups, *shipped.archives) if every else shipped.groups
    if json:
        print_json([asdict(topic) for group in groups for topic in group.topics])
        return
    for group in groups:
        table = Table("slug", "name", "description", box=None, title=group.name, title_justify="left", min_width=100)
        for topic in group.topics:
            table.add_row(topic.slug, topic.name, topic.description)
        console.print(table)
        console.print()
    hidden = sum(len(group.topics) for group in shipped.archives)
    if not every:
        console.print(f"… and every arXiv category as arxiv:cs.CL and so on ({hidden}): --all")
