"""All that a digest matched: the papers it brought, and those over the reader's limit, for its page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import Digest, Interest, Match, Query
from service.digests import notes
from service.matching import expression, language
from service.matching.expression import Expression
from service.subscribers.interests import said

MOST_SHOWN: Final = 500
"""Papers over the limit on one page: more than anybody reads."""


@dataclass(frozen=True, slots=True)
class Because:
    """A reason as the reader calls it, and what it looks for."""

    label: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Matched:
    """A paper with its reasons, as far as they are known."""

    paper_id: int
    because: tuple[Because, ...]


@dataclass(frozen=True, slots=True)
class WholeDigest:
    """A digest with everything it matched."""

    id: int
    reader_id: int
    slot: datetime
    chosen: tuple[Matched, ...]
    rest: tuple[Matched, ...]
    """By how many interests matched, the newest first."""
    trending_ids: tuple[int, ...]
    note: str
    """The editor's, on top; empty where there is none."""


def whole(session: Session, digest_id: int) -> WholeDigest | None:
    """A digest as it went out, and what else the reader's interests of today matched in its editions.

    None where it is gone. Reads the primary key of ``match``.
    """
    digest = session.get(Digest, digest_id)
    if digest is None:
        return None
    reasons: dict[int, list[int]] = {}
    for place, query in zip(digest.reason_papers, digest.reason_queries, strict=True):
        reasons.setdefault(place, []).append(query)
    interests = session.execute(
        select(Interest.query_id, Interest.label, Interest.muted, Interest.topic_slug).where(
            Interest.reader_id == digest.reader_id
        )
    ).all()
    labels = {query: said(label, topic) for query, label, is_muted, topic in interests if not is_muted}
    muted = {query for query, _, is_muted, _ in interests if is_muted}
    others, unwanted = _matches(session, digest, labels.keys() | muted, muted)
    for paper in (*digest.paper_ids, *digest.trending_ids, *unwanted):
        others.pop(paper, None)
    because = _because(
        session, {*digest.reason_queries, *(query for found in others.values() for query in found)}, labels
    )
    newest_first = sorted(others, key=lambda paper: (-len(others[paper]), -paper))[:MOST_SHOWN]
    return WholeDigest(
        id=digest.id,
        reader_id=digest.reader_id,
        slot=digest.slot,
        chosen=tuple(
            Matched(paper, tuple(because[query] for query in reasons.get(place, ()) if query in because))
            for place, paper in enumerate(digest.paper_ids)
        ),
        rest=tuple(Matched(paper, tuple(because[query] for query in others[paper])) for paper in newest_first),
        trending_ids=tuple(digest.trending_ids),
        note=notes.words_of(session, digest.note_id),
    )


def _matches(
    session: Session, digest: Digest, wanted: set[int], muted: set[int]
) -> tuple[dict[int, list[int]], set[int]]:
    """By paper the followed queries that matched it; and the papers that a muted query matched."""
    statement = select(Match.query_id, Match.paper_ids).where(
        Match.edition_id.between(digest.first_edition_id, digest.last_edition_id),
        Match.query_id == func.any(sorted(wanted)),
    )
    found: dict[int, list[int]] = {}
    unwanted: set[int] = set()
    for query, papers in session.execute(statement):
        if query in muted:
            unwanted.update(papers)
        else:
            for paper in papers:
                found.setdefault(paper, []).append(query)
    return found, unwanted


def _because(session: Session, query_ids: set[int], labels: dict[int, str]) -> dict[int, Because]:
    texts = session.execute(select(Query.id, Query.canonical).where(Query.id == func.any(sorted(query_ids))))
    made = {}
    for query, canonical in texts:
        meant = expression.recall(canonical)
        made[query] = Because(labels.get(query) or language.explain(meant), meant)
    return made
