"""What a reader follows or mutes: wishes become interests, an interest is a stored query with a label."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Interest, Query, Topic, Weight
from service.matching import language, queries
from service.translation import gettext as _
from service.translation import topical

MOST: Final = 100
"""Interests of one reader."""
LONGEST_LABEL: Final = 200
DEFAULT_TOPIC: Final = "daily-papers"

# They turn the words around them about, in our pages and mails too; nobody types them on purpose.
_UNSEEN: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class InterestError(Exception):
    """Interests that cannot be taken. One line: the thing and the remedy."""


class UnknownTopic(InterestError):
    """No topic of this name in the catalogue."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something a reader wants to follow or mute, understood but not stored."""

    label: str
    query_text: str
    topic_slug: str | None = None
    muted: bool = False


AnyWish = TypeVar("AnyWish", bound=Wish)


@dataclass(frozen=True, slots=True)
class InterestView:
    """An interest as it stands."""

    id: int
    query_id: int
    label: str
    topic_slug: str | None
    canonical: str
    muted: bool
    weight: Weight = Weight.NORMAL
    instant: bool = False

    @property
    def said(self) -> str:
        """The label as it is shown: a topic's in the language of the moment, a query as its reader typed it."""
        return said(self.label, self.topic_slug)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How an interest that is followed already is to be treated."""

    weight: Weight = Weight.NORMAL
    instant: bool = False
    muted: bool | None = None
    """None: as it is."""


def from_topics(session: Session, slugs: Iterable[str]) -> list[Wish]:
    """Wishes for topics of the catalogue, arXiv categories (``arxiv:cs.CL``) among them. Raises UnknownTopic."""
    wanted = list(dict.fromkeys(slugs))
    statement = (
        select(Topic.slug, Topic.name, Query.canonical)
        .join(Query, Query.id == Topic.query_id)
        .where(Topic.slug.in_(wanted), ~Topic.retired)
    )
    known = {slug: Wish(name, canonical, slug) for slug, name, canonical in session.execute(statement)}
    for slug in wanted:
        if slug not in known:
            everything = session.scalars(select(Topic.slug).where(~Topic.retired)).all()
            close = difflib.get_close_matches(slug, everything, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(close)}?" if close else "`paperround topics` and the site list them all"
            raise UnknownTopic(f"there is no topic “{slug[:64]}”; {hint}")
    return [known[slug] for slug in wanted]


def catalogue(session: Session) -> dict[str, Wish]:
    """A wish for every topic that can be chosen, by slug."""
    statement = (
        select(Topic.slug, Topic.name, Query.canonical).join(Query, Query.id == Topic.query_id).where(~Topic.retired)
    )
    return {slug: Wish(name, canonical, slug) for slug, name, canonical in session.execute(statement)}


def from_queries(texts: Iterable[str], *, muted: bool = False) -> list[Wish]:
    """Wishes for queries as typed; empty lines are passed over. Raises :class:`language.QueryError`."""
    wishes = []
    for text in texts:
        typed = " ".join(_UNSEEN.sub("", text).split())
        if typed:
            language.parse(typed)
            wishes.append(Wish(shortened(typed), typed, muted=muted))
    return wishes


def replace(session: Session, reader_id: int, wishes: Sequence[Wish]) -> None:
    """Make a reader's interests exactly these. An empty list means the default topic.

    Everything is understood before anything is changed. Raises :class:`InterestError` and
    :class:`language.QueryError`.
    """
    if len(wishes) > MOST:
        raise InterestError(
            _(
                "%(count)s interests are too many: follow at most %(most)s, or join some with OR",
                count=len(wishes),
                most=MOST,
            )
        )
    wishes = wishes or from_topics(session, [DEFAULT_TOPIC])
    expressions = [language.parse(wish.query_text) for wish in wishes]
    query_ids = queries.store_many(session, expressions)
    chosen = by_query(query_ids, wishes)
    session.execute(delete(Interest).where(Interest.reader_id == reader_id, Interest.query_id.not_in(chosen)))
    rows = [_row(reader_id, query_id, wish) for query_id, wish in chosen.items()]
    statement = insert(Interest)
    fresh = {name: statement.excluded[name] for name in ("topic_slug", "label", "muted")}
    session.execute(
        statement.on_conflict_do_update(index_elements=[Interest.reader_id, Interest.query_id], set_=fresh), rows
    )


def by_query(query_ids: Iterable[int], wishes: Iterable[AnyWish]) -> dict[int, AnyWish]:
    """One wish a query: of two names for one the first stays, but muting wins over following."""
    chosen: dict[int, AnyWish] = {}
    for query_id, wish in zip(query_ids, wishes, strict=True):
        if query_id not in chosen or (wish.muted and not chosen[query_id].muted):
            chosen[query_id] = wish
    return chosen


def add(session: Session, reader_id: int, wishes: Sequence[Wish]) -> None:
    """Take up more interests; what the reader follows or mutes already stays as it is.

    Raises :class:`InterestError` and :class:`language.QueryError`.
    """
    held = session.scalars(select(func.count()).where(Interest.reader_id == reader_id)).one()
    if held + len(wishes) > MOST:
        raise InterestError(
            _(
                "%(held)s interests are followed already, at most %(most)s are possible: drop some first",
                held=held,
                most=MOST,
            )
        )
    query_ids = queries.store_many(session, [language.parse(wish.query_text) for wish in wishes])
    rows = [_row(reader_id, query_id, wish) for query_id, wish in zip(query_ids, wishes, strict=True)]
    if rows:
        known = [Interest.reader_id, Interest.query_id]
        session.execute(insert(Interest).on_conflict_do_nothing(index_elements=known), rows)


def tune(session: Session, reader_id: int, tunings: Mapping[int, Tuning]) -> None:
    """Set weights, and what comes at once, by query; what the reader does not follow is passed over."""
    held = session.scalars(
        select(Interest).where(Interest.reader_id == reader_id, Interest.query_id.in_(tunings)).order_by(Interest.id)
    )
    for interest in held:
        wished = tunings[interest.query_id]
        interest.weight = int(wished.weight)
        interest.instant = wished.instant
        if wished.muted is not None:
            interest.muted = wished.muted
    session.flush()


def of(session: Session, reader_id: int) -> list[InterestView]:
    """A reader's interests in the order they were taken up."""
    statement = (
        select(Interest, Query.canonical)
        .join(Query, Query.id == Interest.query_id)
        .where(Interest.reader_id == reader_id)
        .order_by(Interest.id)
    )
    return [
        InterestView(
            id=each.id,
            query_id=each.query_id,
            label=each.label,
            topic_slug=each.topic_slug,
            canonical=canonical,
            muted=each.muted,
            weight=Weight(each.weight),
            instant=each.instant,
        )
        for each, canonical in session.execute(statement)
    ]


def said(label: str, topic_slug: str | None) -> str:
    """The label of an interest as it is shown, in the language of the moment."""
    return topical(label) if topic_slug else label


def shortened(text: str) -> str:
    """A query as the label of its interest."""
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _row(reader_id: int, query_id: int, wish: Wish) -> dict[str, Any]:
    """A wish as a row of the table ``interest``."""
    return {
        "reader_id": reader_id,
        "query_id": query_id,
        "topic_slug": wish.topic_slug,
        "label": shortened(wish.label),
        "muted": wish.muted,
    }
