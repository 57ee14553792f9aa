"""The catalogue of topics: what the TOML file says, and on top of it what operators say (``edits``).

The table ``topic`` follows the two. An operator's word holds whatever a later version's file says; where that file says
something new of the topic, it is told, and the operator chooses.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from service.database import Database
from service.database.tables import Interest, Topic, TopicEdit
from service.matching import language, queries
from service.matching.expression import Expression
from service.papers import taxonomy

log = structlog.get_logger(__name__)

FILE: Final = Path(__file__).with_name("topics.toml")
_TURN: Final = 7_262_054
LONGEST_LINE: Final = 160
"""Characters of a description."""


class CatalogueError(Exception):
    """The catalogue file cannot be used. One line: the topic, what is wrong, the remedy."""


@dataclass(frozen=True, slots=True)
class TopicEntry:
    """A topic as somebody wrote it: the file, or an operator."""

    slug: str
    name: str
    description: str
    group: str
    query: str


@dataclass(frozen=True, slots=True)
class Group:
    """Topics that stand together, under a heading."""

    name: str
    topics: tuple[TopicEntry, ...]


@dataclass(frozen=True)
class Catalogue:
    """Groups of topics in the order of the file, then the arXiv archives with their categories."""

    groups: tuple[Group, ...]
    archives: tuple[Group, ...]

    def topics(self) -> tuple[TopicEntry, ...]:
        """Every topic, arXiv categories last."""
        return tuple(topic for group in (*self.groups, *self.archives) for topic in group.topics)

    def find(self, slug: str) -> TopicEntry | None:
        return self._by_slug.get(slug)

    @cached_property
    def _by_slug(self) -> Mapping[str, TopicEntry]:
        return {topic.slug: topic for topic in self.topics()}


@lru_cache(maxsize=1)
def load() -> Catalogue:
    """The catalogue of this version. Raises :class:`CatalogueError`."""
    return read(FILE)


def read(path: Path) -> Catalogue:
    """A catalogue file, checked: every slug once, every line short, every query understood."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CatalogueError(f"{path.name} cannot be read: {error}") from error
    groups = tuple(
        Group(
            str(group["name"]), tuple(_entry(path, slug, group["name"], row) for slug, row in group["topics"].items())
        )
        for group in table.get("group", [])
    )
    catalogue = Catalogue(groups, _archives())
    seen: set[str] = set()
    for topic in catalogue.topics():
        if topic.slug in seen:
            raise CatalogueError(f"{path.name}: the slug {topic.slug} stands twice; rename one")
        seen.add(topic.slug)
    return catalogue


def current(session: Session) -> Catalogue:
    """The catalogue of this version with the operators' word on top of it."""
    return overlaid(load(), edits(session))


def edits(session: Session) -> Sequence[TopicEdit]:
    """The operators' word, by slug."""
    # An upsert goes past the session: what it holds may be old.
    statement = select(TopicEdit).order_by(TopicEdit.slug).execution_options(populate_existing=True)
    return session.scalars(statement).all()


def overlaid(shipped: Catalogue, said: Sequence[TopicEdit]) -> Catalogue:
    """An edited topic stays in its place unless it goes to another group; new ones come last in theirs. Pure."""
    if not said:
        return shipped
    rest = {edit.slug: edit for edit in said}
    groups: dict[str, list[TopicEntry]] = {}
    for group in shipped.groups:
        kept = groups[group.name] = []
        for topic in group.topics:
            edit = rest.get(topic.slug)
            if edit is None:
                kept.append(topic)
            elif edit.group_name == group.name:
                del rest[topic.slug]
                kept += [] if edit.retired else [entry_of(edit)]
    for edit in rest.values():
        if not edit.retired:
            groups.setdefault(edit.group_name, []).append(entry_of(edit))
    return Catalogue(tuple(Group(name, tuple(topics)) for name, topics in groups.items() if topics), shipped.archives)


def entry_of(edit: TopicEdit) -> TopicEntry:
    """The topic that an operator wrote."""
    return TopicEntry(edit.slug, edit.name, edit.description, edit.group_name, edit.query)


def fingerprint(entry: TopicEntry | None) -> bytes | None:
    """What the file says of a topic, to be compared with what it said before; None where it says nothing."""
    if entry is None:
        return None
    words = (entry.name, entry.description, entry.group, entry.query)
    return hashlib.sha256("\x00".join(words).encode()).digest()


def sync(database: Database) -> None:
    """Bring the table in step with the catalogue; safe when several processes start at once.

    A topic whose query changed takes its followers along; a follower who already follows the new query by another name
    keeps that. A topic that is gone is retired: its followers keep it, nobody new can choose it.
    """
    with database.transaction() as session:
        take_turn(session)
        for edit in edits(session):
            if fingerprint(load().find(edit.slug)) != edit.over:
                log.warning("topics.operators_word_stands", topic=edit.slug, file="says something new of it")
        follow(session)


def take_turn(session: Session) -> None:
    """Whoever changes topics does so in turn, until the end of the transaction."""
    session.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})


@lru_cache(maxsize=1_000)
def _meant(query: str) -> Expression:
    # Each time one topic is edited, all are looked at.
    return language.parse(query)


def follow(session: Session) -> None:
    """Bring the table in step, in the transaction of a caller who has the turn."""
    entries = current(session).topics()
    query_ids = queries.store_many(session, [_meant(entry.query) for entry in entries])
    rows = [
        {
            "slug": entry.slug,
            "name": entry.name,
            "description": entry.description,
            "group_name": entry.group,
            "position": position,
            "query_id": query_id,
            "retired": False,
        }
        for position, (entry, query_id) in enumerate(zip(entries, query_ids, strict=True))
    ]
    statement = insert(Topic)
    fresh = {name: statement.excluded[name] for name in rows[0] if name != "slug"}
    session.execute(statement.on_conflict_do_update(index_elements=[Topic.slug], set_=fresh), rows)
    slugs = [entry.slug for entry in entries]
    session.execute(update(Topic).where(Topic.slug.not_in(slugs), ~Topic.retired).values(retired=True))
    _move_followers(session)


def _move_followers(session: Session) -> None:
    # Looked for on their own: together with what follows, PostgreSQL may read the table once for each of its rows where
    # it does not know yet how large it has become, as after an import.
    behind = (Interest.topic_slug == Topic.slug) & (Interest.query_id != Topic.query_id)
    movers = session.scalars(select(Interest.id).join(Topic, behind)).all()
    if not movers:
        return
    theirs = Interest.id == func.any(list(movers))
    other = aliased(Interest)
    follows_already = exists().where(other.reader_id == Interest.reader_id, other.query_id == Topic.query_id)
    session.execute(
        delete(Interest).where(theirs, behind, follows_already).execution_options(synchronize_session=False)
    )
    session.execute(
        update(Interest)
        .where(theirs, behind)
        .values(query_id=Topic.query_id, label=Topic.name)
        .execution_options(synchronize_session=False)
    )


def _entry(path: Path, slug: str, group: str, row: dict[str, Any]) -> TopicEntry:
    where = f"{path.name}: topic {slug}"
    for key in ("name", "description", "query"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise CatalogueError(f"{where} has no {key}; add one")
    if "\n" in row["description"] or len(row["description"]) > LONGEST_LINE:
        raise CatalogueError(f"{where}: the description is one line of at most {LONGEST_LINE} characters; shorten it")
    try:
        language.parse(row["query"])
    except language.QueryError as error:
        raise CatalogueError(f"{where}: {error}") from error
    return TopicEntry(slug, row["name"], row["description"], group, row["query"])


def _archives() -> tuple[Group, ...]:
    """Every arXiv category as a topic, cross-lists included; aliases of another category are left out."""
    by_archive: dict[str, list[TopicEntry]] = {}
    for category in taxonomy.CATEGORIES.values():
        if taxonomy.canonical(category.id) != category.id:
            continue
        group = f"arXiv: {category.archive_name}"
        description = f"Everything on arXiv in {category.id}, cross-lists included"
        entry = TopicEntry(f"arxiv:{category.id}", category.name, description, group, f"cat:{category.id}")
        by_archive.setdefault(group, []).append(entry)
    return tuple(Group(name, tuple(topics)) for name, topics in by_archive.items())
