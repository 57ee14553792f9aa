"""The operators' word on topics: edit, add, retire, and back to what the file says.

A word is a whole topic, kept in ``topic_edit``. Each act brings ``topic`` in step and takes the followers along in its
transaction, in turn with all others (``catalogue.take_turn``). A crash before the commit: nothing happened. What was
sent stays as it was; followers get the new query's papers from their next digest on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Interest, Query, Topic, TopicEdit
from service.matching import language
from service.subscribers import interests
from service.subscribers.topics import catalogue
from service.subscribers.topics.catalogue import LONGEST_LINE, CatalogueError, TopicEntry

LONGEST_NAME: Final = 80
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_SLUG: Final = 60


class Origin(StrEnum):
    """Whose word a topic is."""

    SHIPPED = "shipped"
    EDITED = "edited"
    """Shipped, and an operator says otherwise."""
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic as its editor sees it."""

    entry: TopicEntry
    origin: Origin
    retired: bool
    followers: int
    """Interests, muting ones among them."""
    edited_at: datetime | None
    shipped: TopicEntry | None
    """What the file of this version says, where an operator says otherwise."""
    shipped_is_new: bool
    """The file has come to say something else since the operator spoke."""


def listing(session: Session) -> list[TopicView]:
    """Every topic but arXiv's categories, retired ones among them: in the order of the catalogue, the retired last."""
    return _views(session)


def find(session: Session, slug: str) -> TopicView:
    """One topic of :func:`listing`. Raises :class:`CatalogueError`."""
    for view in _views(session, only=slug):
        return view
    raise CatalogueError(f"there is no topic {slug[:64]} to edit: the list of topics shows them all")


def _views(session: Session, *, only: str | None = None) -> list[TopicView]:
    edits = {edit.slug: edit for edit in catalogue.edits(session)}
    current = [topic for group in catalogue.current(session).groups for topic in group.topics]
    offered = {topic.slug for topic in current}
    statement = select(Topic, Query.canonical).join(Query, Query.id == Topic.query_id).order_by(Topic.slug)
    retired = [
        catalogue.entry_of(edits[topic.slug])
        if topic.slug in edits
        else TopicEntry(topic.slug, topic.name, topic.description, topic.group_name, canonical)
        for topic, canonical in session.execute(statement.where(Topic.retired))
        if topic.slug not in offered
    ]
    wanted = [entry for entry in (*current, *retired) if only in (None, entry.slug)]
    # Reads ix_interest_topic_slug alone.
    counted = select(Interest.topic_slug, func.count()).where(
        Interest.topic_slug == func.any([entry.slug for entry in wanted])
    )
    followers: dict[str | None, int] = dict(session.execute(counted.group_by(Interest.topic_slug)).all())
    views = []
    for entry in wanted:
        edit = edits.get(entry.slug)
        shipped = catalogue.load().find(entry.slug)
        origin = Origin.SHIPPED if edit is None else Origin.ADDED if edit.over is None else Origin.EDITED
        views.append(
            TopicView(
                entry=entry,
                origin=origin,
                retired=entry.slug not in offered,
                followers=followers.get(entry.slug, 0),
                edited_at=edit.edited_at if edit else None,
                shipped=shipped if edit else None,
                shipped_is_new=edit is not None and catalogue.fingerprint(shipped) != edit.over,
            )
        )
    return views


def check(entry: TopicEntry) -> TopicEntry:
    """The topic with its spaces tidied. Raises CatalogueError, and QueryError with the column and the mend."""
    tidy = TopicEntry(*(" ".join(getattr(entry, field).split()) for field in TopicEntry.__slots__))
    if not _SLUG.fullmatch(tidy.slug) or len(tidy.slug) > _LONGEST_SLUG:
        raise CatalogueError(
            f"“{tidy.slug[:64]}” cannot name a topic in addresses: use up to {_LONGEST_SLUG} small letters and digits,"
            " words joined by single hyphens, as in protein-design"
        )
    for what, text, longest in (
        ("name", tidy.name, LONGEST_NAME),
        ("description", tidy.description, LONGEST_LINE),
        ("group", tidy.group, LONGEST_NAME),
    ):
        if not text:
            raise CatalogueError(f"the topic has no {what}: give it one")
        if len(text) > longest:
            raise CatalogueError(f"the {what} has {len(text)} characters: shorten it to {longest}")
    language.parse(tidy.query)
    return tidy


def add(session: Session, entry: TopicEntry) -> TopicEntry:
    """A topic that there never was; as stored. Raises CatalogueError, QueryError."""
    tidy = check(entry)
    catalogue.take_turn(session)
    if session.get(Topic, tidy.slug) is not None or catalogue.load().find(tidy.slug) is not None:
        raise CatalogueError(f"there is a topic {tidy.slug} already, in use or retired: edit that, or choose another")
    return _keep(session, tidy)


def edit(session: Session, entry: TopicEntry) -> TopicEntry:
    """Say something else of a topic, or take a retired one up again; as stored. Raises CatalogueError, QueryError."""
    tidy = check(entry)
    catalogue.take_turn(session)
    find(session, tidy.slug)
    return _keep(session, tidy)


def retire(session: Session, slug: str) -> TopicEntry:
    """Nobody new can choose it, its followers keep it. Raises :class:`CatalogueError`."""
    if slug == interests.DEFAULT_TOPIC:
        raise CatalogueError(f"{slug} is what readers who choose nothing follow: edit it instead of retiring it")
    catalogue.take_turn(session)
    return _keep(session, find(session, slug).entry, retired=True)


def as_shipped(session: Session, slug: str) -> TopicEntry:
    """Take the operators' word back: the file's holds again. Raises CatalogueError for a topic that no file has."""
    catalogue.take_turn(session)
    shipped = catalogue.load().find(slug)
    if shipped is None:
        raise CatalogueError(f"this version ships no topic {slug[:64]}: retire it instead")
    session.execute(delete(TopicEdit).where(TopicEdit.slug == slug))
    catalogue.follow(session)
    return shipped


def _keep(session: Session, entry: TopicEntry, *, retired: bool = False) -> TopicEntry:
    same_name = [
        topic.slug
        for topic in catalogue.current(session).topics()
        if topic.name.casefold() == entry.name.casefold() and topic.slug != entry.slug
    ]
    if same_name and not retired:
        raise CatalogueError(f"{same_name[0]} is called “{entry.name}” already: choose another name")
    row = {
        "slug": entry.slug,
        "name": entry.name,
        "description": entry.description,
        "group_name": entry.group,
        "query": entry.query,
        "retired": retired,
        "over": catalogue.fingerprint(catalogue.load().find(entry.slug)),
        "edited_at": func.now(),
    }
    statement = insert(TopicEdit).values(row)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[TopicEdit.slug],
            set_={name: statement.excluded[name] for name in row if name != "slug"},
        )
    )
    catalogue.follow(session)
    return entry
