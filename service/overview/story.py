"""One reader's whole story: what they agreed to, follow, got and said, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import (
    AddressChange,
    ConsentEvent,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Digest,
    Paper,
    Reader,
)
from service.digests import notes
from service.settings import Settings
from service.subscribers import accounts, addresses, feedback, interests, returned, suppression
from service.subscribers.accounts import ReaderView
from service.subscribers.consent import ConsentKind
from service.subscribers.feedback import FeedbackView
from service.subscribers.interests import InterestView
from service.subscribers.returned import ReturnView
from service.subscribers.suppression import SuppressionView

SHOWN: Final = 20
"""Of each chapter, the newest."""
MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class ConsentView:
    """An event of consent as it was recorded."""

    at: datetime
    kind: ConsentKind
    wording: str
    origin: str
    ip: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A mail, and how it went."""

    id: int
    kind: DeliveryKind
    state: DeliveryState
    digest_id: int | None
    message_id: str
    attempts: int
    unanswered: int
    reply: str | None
    """The relay's last word, or why it was cancelled."""
    due_at: datetime
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class PaperLine:
    """A paper in a list."""

    id: int
    title: str
    """Empty for a paper that is gone."""


@dataclass(frozen=True, slots=True)
class DigestView:
    """A digest, what it brought, and what became of its deliveries."""

    id: int
    slot: datetime
    editions: tuple[int, int]
    """The first and the last it brought something of."""
    matched: int
    papers: tuple[PaperLine, ...]
    trending: tuple[PaperLine, ...]
    note: str
    deliveries: tuple[DeliveryView, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """Everything of one reader; each chapter the newest first."""

    reader: ReaderView
    suppressed: SuppressionView | None
    moving_to: str | None
    """An address they want and have not confirmed."""
    consent: tuple[ConsentView, ...]
    interests: tuple[InterestView, ...]
    digests: tuple[DigestView, ...]
    deliveries: tuple[DeliveryView, ...]
    returns: tuple[ReturnView, ...]
    feedback: tuple[FeedbackView, ...]
    more: bool
    """Some chapter has more than is shown."""


def of(session: Session, settings: Settings, reader_id: int, *, limit: int = SHOWN) -> Story | None:
    """The story, up to ``limit`` of each chapter; None for a reader who is gone.

    Each chapter is one query by reader: the unique index of (reader, slot) of each month, ix_delivery_reader_id,
    ix_return_event_reader_id, ix_consent_event_reader_id, pk_feedback.
    """
    row = session.get(Reader, reader_id)
    reader = accounts.get(session, reader_id)
    if row is None or reader is None:
        return None
    deliveries = _deliveries(session, reader_id, limit)
    said = feedback.of(session, reader_id)
    returns = returned.of(session, reader_id, limit=limit + 1)
    consents = _consents(session, reader_id)
    digests = _digests(session, reader_id, limit)
    return Story(
        reader=reader,
        suppressed=suppression.find(session, addresses.hashed(settings, row.address_key)),
        moving_to=session.scalar(select(AddressChange.email).where(AddressChange.reader_id == reader_id)),
        consent=tuple(consents),
        interests=tuple(interests.of(session, reader_id)),
        digests=tuple(digests[:limit]),
        deliveries=tuple(deliveries[:limit]),
        returns=tuple(returns[:limit]),
        feedback=tuple(said[:limit]),
        more=any(len(chapter) > limit for chapter in (deliveries, said, returns, digests)),
    )


def _consents(session: Session, reader_id: int) -> list[ConsentView]:
    statement = select(ConsentEvent).where(ConsentEvent.reader_id == reader_id).order_by(ConsentEvent.id.desc())
    return [
        ConsentView(
            each.at, ConsentKind(each.kind), each.wording, each.origin, each.ip and str(each.ip), each.user_agent
        )
        for each in session.scalars(statement)
    ]


def _deliveries(session: Session, reader_id: int, limit: int) -> list[DeliveryView]:
    statement = select(Delivery).where(Delivery.reader_id == reader_id).order_by(Delivery.id.desc()).limit(limit + 1)
    return [_delivery(each) for each in session.scalars(statement)]


def _digests(session: Session, reader_id: int, limit: int) -> list[DigestView]:
    statement = select(Digest).where(Digest.reader_id == reader_id).order_by(Digest.slot.desc()).limit(limit + 1)
    found = session.scalars(statement).all()
    shown = {paper for digest in found for paper in (*digest.paper_ids, *digest.trending_ids)}
    titles: dict[int, str] = dict(
        session.execute(select(Paper.id, Paper.title).where(Paper.id == func.any(list(shown)))).all()
    )
    words = {note_id: notes.words_of(session, note_id) for note_id in {digest.note_id for digest in found}}
    sent: dict[int | None, list[DeliveryView]] = {}
    theirs = select(Delivery).where(
        Delivery.reader_id == reader_id, Delivery.digest_id == func.any([digest.id for digest in found])
    )
    for each in session.scalars(theirs.order_by(Delivery.id)):
        sent.setdefault(each.digest_id, []).append(_delivery(each))
    return [
        DigestView(
            id=digest.id,
            slot=digest.slot,
            editions=(digest.first_edition_id, digest.last_edition_id),
            matched=digest.matched,
            papers=tuple(PaperLine(paper, titles.get(paper, "")) for paper in digest.paper_ids),
            trending=tuple(PaperLine(paper, titles.get(paper, "")) for paper in digest.trending_ids),
            note=words[digest.note_id],
            deliveries=tuple(sent.get(digest.id, ())),
        )
        for digest in found
    ]


def _delivery(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        kind=DeliveryKind(row.kind),
        state=DeliveryState(row.state),
        digest_id=row.digest_id,
        message_id=row.message_id,
        attempts=row.attempts,
        unanswered=row.unanswered,
        reply=row.reply,
        due_at=row.due_at,
        created_at=row.created_at,
        settled_at=row.settled_at,
    )
