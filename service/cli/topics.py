"""The topics, for the operator: what this version ships, and the operators' word on top of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.table import Table

from service.cli.door import console, opened, print_json
from service.cli.papers import Json
from service.operators import audit
from service.operators.audit import Act
from service.subscribers.topics import catalogue, edits
from service.subscribers.topics.catalogue import TopicEntry

app = typer.Typer(help="List and edit the topics that readers can choose.")


@app.callback(invoke_without_command=True)
def topics(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="arXiv categories too.")] = False,
    json: Json = False,
) -> None:
    """The topics that readers can choose, by group."""
    if context.invoked_subcommand is not None:
        return
    with opened() as (_, database), database.transaction() as session:
        current = catalogue.current(session)
    groups = (*current.groups, *current.archives) if every else current.groups
    if json:
        print_json([asdict(topic) for group in groups for topic in group.topics])
        return
    for group in groups:
        table = Table("slug", "name", "description", box=None, title=group.name, title_justify="left", min_width=100)
        for topic in group.topics:
            table.add_row(topic.slug, topic.name, topic.description)
        console.print(table)
        console.print()
    hidden = sum(len(group.topics) for group in current.archives)
    if not every:
        console.print(f"… and every arXiv category as arxiv:cs.CL and so on ({hidden}): --all")


@app.command()
def add(
    slug: Annotated[str, typer.Argument(help="Its name in addresses, as in protein-design; never changes.")],
    name: Annotated[str, typer.Option()],
    description: Annotated[str, typer.Option(help="One line.")],
    group: Annotated[str, typer.Option(help="A group that there is, or a new one.")],
    query: Annotated[str, typer.Option(help="In the query language.")],
) -> None:
    """Add a topic."""
    with opened() as (_, database), database.transaction() as session:
        made = edits.add(session, TopicEntry(slug, name, description, group, query))
        audit.record(session, None, Act.TOPIC_ADDED, f"topic {made.slug}", f"query {made.query}")
    console.print(f"Added {slug}.", highlight=False)


@app.command()
def edit(
    slug: str,
    name: Annotated[str | None, typer.Option()] = None,
    description: Annotated[str | None, typer.Option()] = None,
    group: Annotated[str | None, typer.Option()] = None,
    query: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Say something else of a topic, or take a retired one up again. Its followers come along."""
    said = {"name": name, "description": description, "group": group, "query": query}
    with opened() as (_, database), database.transaction() as session:
        found = edits.find(session, slug)
        changes = {field: word for field, word in said.items() if word is not None}
        edits.edit(session, replace(found.entry, **changes))
        audit.record(session, None, Act.TOPIC_EDITED, f"topic {slug}", f"query was {found.entry.query}")
    console.print(f"Edited {slug}; followers: {found.followers}.", highlight=False)


@app.command()
def retire(slug: str) -> None:
    """Offer a topic to nobody new. Its followers keep it."""
    with opened() as (_, database), database.transaction() as session:
        edits.retire(session, slug)
        audit.record(session, None, Act.TOPIC_RETIRED, f"topic {slug}")
    console.print(f"Retired {slug}.", highlight=False)


@app.command("as-shipped")
def as_shipped(slug: str) -> None:
    """Take the operators' word on a topic back: what this version ships holds again."""
    with opened() as (_, database), database.transaction() as session:
        shipped = edits.as_shipped(session, slug)
        audit.record(session, None, Act.TOPIC_AS_SHIPPED, f"topic {slug}")
    console.print(f"{slug} is as shipped: {shipped.query}", highlight=False, markup=False)
