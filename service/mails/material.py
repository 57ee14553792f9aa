"""What digests are made from, read from the database for many at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Label, func, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NULLTYPE

from service import translation
from service.database.tables import Digest, EditorNote, Interest, Query
from service.mails.addressee import Addressee, addressees
from service.mails.kept import Kept
from service.matching import language
from service.matching.expression import Expression
from service.outbox.claims import Claim
from service.papers import archive
from service.translation import Language, gettext, topical

PAPER_SECONDS: Final = 600.0
"""A paper older than this is read and made into a card anew: counts and a withdrawal may have changed."""
MOST_PAPERS: Final = 20_000
_QUERY_SECONDS: Final = 86_400.0
"""A query never changes its meaning."""
_MOST_QUERIES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Draft:
    """The papers of one digest, chosen; as the table ``digest`` holds them."""

    slot: datetime
    paper_ids: Sequence[int]
    reason_papers: Sequence[int]
    reason_queries: Sequence[int]
    matched: int
    trending_ids: Sequence[int] = ()
    digest_id: int | None = None
    """The row; None where nothing is stored yet, as in a preview."""
    note: str = ""
    """The editor's, on top."""


@dataclass(frozen=True, slots=True)
class Material:
    """What some digests are made from."""

    readers: Mapping[int, Addressee]
    drafts: Mapping[int, Draft]
    """By the digest's id."""
    labels: Mapping[tuple[int, int], str]
    """What each reader calls each query, by their ids."""
    papers: Mapping[int, archive.PaperView]
    meanings: Mapping[int, Expression]
    """Of queries, by id."""


class Materials:
    """Reads material; keeps papers and queries for a while, since those of many readers are the same."""

    def __init__(self) -> None:
        self._papers: Kept[int, archive.PaperView] = Kept(seconds=PAPER_SECONDS, most=MOST_PAPERS)
        self._meanings: Kept[int, Expression] = Kept(seconds=_QUERY_SECONDS, most=_MOST_QUERIES)

    def of_claims(self, session: Session, claims: Sequence[Claim]) -> Material:
        """Of the readers of these claims and of their digests. Who or what is gone is not among it."""
        drafts = stored(session, [claim.digest_id for claim in claims if claim.digest_id is not None])
        readers = addressees(session, {claim.reader_id for claim in claims})
        wanted = [
            (readers[claim.reader_id], drafts[claim.digest_id])
            for claim in claims
            if claim.reader_id in readers and claim.digest_id in drafts
        ]
        return self._read(session, readers, drafts, wanted)

    def of_draft(
        self, session: Session, reader: Addressee, draft: Draft, labels: Mapping[tuple[int, int], str] | None = None
    ) -> Material:
        """Of one draft. With ``labels``, its reader need not be stored."""
        return self._read(session, {reader.id: reader}, {}, [(reader, draft)], labels)

    def _read(
        self,
        session: Session,
        readers: Mapping[int, Addressee],
        drafts: Mapping[int, Draft],
        wanted: Sequence[tuple[Addressee, Draft]],
        labels: Mapping[tuple[int, int], str] | None = None,
    ) -> Material:
        now = time.monotonic()
        papers = {paper for _, draft in wanted for paper in (*draft.paper_ids, *draft.trending_ids)}
        queries = {query for _, draft in wanted for query in draft.reason_queries}
        return Material(
            readers=readers,
            drafts=drafts,
            labels=_labels(session, wanted) if labels is None else labels,
            papers=self._kept_papers(session, papers, now),
            meanings=self._kept_meanings(session, queries, now),
        )

    def _kept_papers(self, session: Session, wanted: set[int], now: float) -> dict[int, archive.PaperView]:
        held = {paper: kept for paper in wanted if (kept := self._papers.get(paper, now)) is not None}
        missing = wanted - held.keys()
        if not missing:
            return held
        found = archive.by_ids(session, missing)
        self._papers.keep(found, now)
        return held | found

    def _kept_meanings(self, session: Session, wanted: set[int], now: float) -> dict[int, Expression]:
        held = {query: kept for query in wanted if (kept := self._meanings.get(query, now)) is not None}
        missing = wanted - held.keys()
        if not missing:
            return held
        rows = session.execute(select(Query.id, Query.canonical).where(Query.id.in_(missing))).all()
        found = {query: language.recall(canonical) for query, canonical in rows}
        self._meanings.keep(found, now)
        return held | found


def stored(session: Session, digest_ids: Sequence[int]) -> dict[int, Draft]:
    """The digests of these ids as they were planned, those that are there."""
    if not digest_ids:
        return {}
    columns = (
        Digest.id,
        Digest.slot,
        _as_sent(Digest.paper_ids),
        _as_sent(Digest.reason_papers),
        _as_sent(Digest.reason_queries),
        Digest.matched,
        _as_sent(Digest.trending_ids),
        EditorNote.words,
    )
    statement = select(*columns).outerjoin(EditorNote, EditorNote.id == Digest.note_id)
    return {
        row.id: Draft(
            slot=row.slot,
            paper_ids=row.paper_ids,
            reason_papers=row.reason_papers,
            reason_queries=row.reason_queries,
            matched=row.matched,
            trending_ids=row.trending_ids,
            digest_id=row.id,
            note=row.words or "",
        )
        for row in session.execute(statement.where(Digest.id == func.any(list(digest_ids))))
    }


def _as_sent(column: InstrumentedAttribute[list[int]]) -> Label[Any]:
    """An array as psycopg makes it of what the server sends: SQLAlchemy would go through it once more, to no end."""
    return type_coerce(column, NULLTYPE).label(column.key)


def _labels(session: Session, wanted: Sequence[tuple[Addressee, Draft]]) -> dict[tuple[int, int], str]:
    """What each reader calls each query, topics in the reader's language; for an interest given up meanwhile, the
    query in words."""
    pairs = {(reader.id, query) for reader, draft in wanted for query in draft.reason_queries}
    if not pairs:
        return {}
    languages = {reader.id: reader.speaks for reader, _ in wanted}
    # All interests of these readers: nearly all are wanted, and pairs are slow to bind.
    statement = select(Interest.reader_id, Interest.query_id, Interest.label, Interest.topic_slug).where(
        Interest.reader_id == func.any(sorted({reader for reader, _ in pairs}))
    )
    labels = {
        (reader, query): _label(languages[reader], label, topic is not None)
        for reader, query, label, topic in session.execute(statement)
    }
    orphans = {query for reader, query in pairs if (reader, query) not in labels}
    if orphans:
        texts = dict(session.execute(select(Query.id, Query.canonical).where(Query.id.in_(orphans))).all())
        for reader, query in pairs - labels.keys():
            with translation.speaking(languages[reader]):
                labels[reader, query] = language.explain(language.recall(texts[query]))
    return labels


@lru_cache(maxsize=50_000)
def _label(of: Language, label: str, is_topic: bool) -> str:
    """An interest as its reader calls it."""
    with translation.speaking(of):
        if is_topic:
            return topical(label)
        return label if '"' in label else gettext("“%(words)s”", words=label)
