"""From claimed deliveries to messages for the wire.

What is the same for all readers is encoded once: the digest's frame, and each paper's card. For a reader there remain a
few lines to fill in, and a join. Who is no longer entitled to a mail gets none: that is decided here and looked at once
more by the sender.
"""

from __future__ import annotations

import hashlib
import html
import quopri
import textwrap
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import DeliveryKind, Digest, Interest, Query, Reader, ReaderState
from service.digests import cards, message, quoted
from service.digests.cards import Card
from service.digests.message import Headers, Sender
from service.digests.templates import Fragments, holes, templates
from service.matching import language
from service.outbox.claims import Claim
from service.papers import archive
from service.settings import Settings
from service.subscribers import addresses, schedule, suppression
from service.subscribers.tokens import Links

SITE_NAME: Final = "Paperround"
MOST_HTML_BYTES: Final = 95_000
"""Mail programs cut longer HTML off (Gmail at about 102 KB)."""
_CARD_SECONDS: Final = 600.0
"""A card older than this is made anew: counts and a withdrawal may have changed."""
_NAMED_REASONS: Final = 3
_FRAME_HOLES: Final = (
    "title", "headline", "summary", "preheader", "more", "preferences_url", "unsubscribe_url",
)  # fmt: skip
_ENTITLED: Final = {
    DeliveryKind.DIGEST: (ReaderState.ACTIVE,),
    DeliveryKind.WELCOME: (ReaderState.ACTIVE,),
    DeliveryKind.CONFIRM: (ReaderState.PENDING,),
    DeliveryKind.SIGN_IN: tuple(ReaderState),
}


@dataclass(frozen=True, slots=True)
class Composed:
    """A message for the wire."""

    delivery_id: int
    envelope_sender: str
    recipient: str
    """As the envelope wants it: the domain in A-labels."""
    content: bytes
    """RFC 5322 with CRLF, not dot-stuffed."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """No mail, and why."""

    delivery_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Draft:
    """The papers of one digest, chosen; as the table ``digest`` holds them."""

    slot: datetime
    paper_ids: Sequence[int]
    reason_papers: Sequence[int]
    reason_queries: Sequence[int]
    matched: int


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail to look at."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class _Parts:
    subject: str
    text: list[bytes]
    html: list[bytes]


class Composer:
    """Composes for one installation; keeps cards and the frame. Safe for several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._links = Links(settings)
        self._templates = templates()
        self._sender = Sender(
            name=settings.sender_name,
            address=settings.sender_address,
            list_id=f"digest.{settings.mail_domain}",
            feedback_sender=hashlib.sha256(settings.mail_domain.encode()).hexdigest()[:12],
        )
        self._site: dict[str, Any] = {
            "site_name": SITE_NAME,
            "origin": settings.origin,
            "postal_address": settings.postal_address,
            "lang": "en",
            "dir": "ltr",
        }
        self._frame_html = self._frame(html_part=True)
        self._frame_text = self._frame(html_part=False)
        self._cards: dict[tuple[int, int], tuple[float, Card]] = {}
        self._lock = threading.Lock()

    # ---- for the sender ----------------------------------------------------------------------------------------------

    def compose(self, session: Session, claims: Sequence[Claim]) -> list[Composed | Withheld]:
        """One result for each claim, in their order."""
        readers = {
            reader.id: reader
            for reader in session.scalars(select(Reader).where(Reader.id.in_({claim.reader_id for claim in claims})))
        }
        hashes = {each.id: addresses.hashed(self._settings, each.address_key) for each in readers.values()}
        suppressed = suppression.among(session, hashes.values())
        drafts = self._drafts(session, claims)
        labels = self._labels(session, [(claim.reader_id, drafts.get(claim.digest_id or 0)) for claim in claims])
        papers = self._fetched(session, (paper for draft in drafts.values() for paper in draft.paper_ids))
        now = datetime.now(UTC)
        made: list[Composed | Withheld] = []
        for claim in claims:
            reader = readers.get(claim.reader_id)
            if reader is None:
                made.append(Withheld(claim.delivery_id, "the reader is gone"))
            elif ReaderState(reader.state) not in _ENTITLED[claim.kind]:
                made.append(Withheld(claim.delivery_id, f"the reader is {reader.state}"))
            elif hashes[reader.id] in suppressed:
                made.append(Withheld(claim.delivery_id, "the address is suppressed"))
            elif claim.kind is not DeliveryKind.DIGEST:
                made.append(self._sealed(claim, reader, self._letter(session, claim.kind, reader), now))
            elif (draft := drafts.get(claim.digest_id or 0)) is None:
                made.append(Withheld(claim.delivery_id, "the digest is gone"))
            elif not any(paper in papers for paper in draft.paper_ids):
                made.append(Withheld(claim.delivery_id, "its papers are gone"))
            else:
                made.append(self.digest(claim, reader, draft, labels, papers, now))
        return made

    def digest(
        self,
        claim: Claim,
        reader: Reader,
        draft: Draft,
        labels: Mapping[tuple[int, int], str],
        papers: Mapping[int, archive.PaperView],
        now: datetime,
    ) -> Composed:
        """One digest from what was read for it: ``labels`` by reader and query, ``papers`` by id. No I/O."""
        return self._sealed(claim, reader, self._digest(reader, draft, labels, papers), now)

    def preview(self, session: Session, reader_id: int, draft: Draft) -> RenderedMail:
        """The digest that ``draft`` would become, to be looked at. Raises LookupError for a reader who is gone."""
        reader = session.get(Reader, reader_id)
        if reader is None:
            raise LookupError("the reader is gone")
        labels = self._labels(session, [(reader_id, draft)])
        papers = self._fetched(session, draft.paper_ids)
        parts = self._digest(reader, draft, labels, papers)
        return RenderedMail(parts.subject, _decoded(parts.html), _decoded(parts.text))

    def _sealed(self, claim: Claim, reader: Reader, parts: _Parts, now: datetime) -> Composed:
        recipient = _deliverable(reader.email)
        listed = claim.kind in (DeliveryKind.DIGEST, DeliveryKind.WELCOME)
        headers = Headers(
            recipient=recipient,
            subject=parts.subject,
            message_id=claim.message_id,
            date=now,
            stream=claim.kind.value,
            one_click_url=self._links.unsubscribe(reader.id) if listed else None,
        )
        content = message.assembled(self._sender, headers, parts.text, parts.html)
        return Composed(claim.delivery_id, self._envelope_sender(), recipient, content)

    def _envelope_sender(self) -> str:
        return self._settings.sender_address

    # ---- digests -----------------------------------------------------------------------------------------------------

    def _digest(
        self,
        reader: Reader,
        draft: Draft,
        labels: Mapping[tuple[int, int], str],
        papers: Mapping[int, archive.PaperView],
    ) -> _Parts:
        shown = [(place, papers[paper]) for place, paper in enumerate(draft.paper_ids) if paper in papers]
        reasons: dict[int, list[str]] = {}
        for place, query in zip(draft.reason_papers, draft.reason_queries, strict=True):
            reasons.setdefault(place, []).append(labels[reader.id, query])
        titles = [paper.title for _, paper in shown]
        leading = [reasons[place][0] for place, _ in shown if reasons.get(place)]
        values = self._frame_values(reader, draft, titles)
        longest = cards.LONGEST_ABSTRACT
        while True:
            html_parts = self._frame_html[0].filled(values.html)
            text_parts = self._frame_text[0].filled(values.text)
            for place, paper in shown:
                card = self._card(paper, longest)
                reason = _reason(tuple(reasons.get(place, ())))
                html_parts += card.html.filled(reason.html)
                text_parts += card.text.filled(reason.text)
            html_parts += self._frame_html[1].filled(values.html)
            text_parts += self._frame_text[1].filled(values.text)
            # Encoded length bounds the decoded one, so the cheap measure is the safe one.
            if longest <= cards.LONGEST_ABSTRACT // 4 or sum(map(len, html_parts)) <= MOST_HTML_BYTES:
                break
            longest //= 2
        return _Parts(message.subject(leading, titles), text_parts, html_parts)

    def _frame_values(self, reader: Reader, draft: Draft, titles: Sequence[str]) -> _FrameValues:
        count = len(titles)
        more = draft.matched - count
        headline = f"{count} new paper{'s' if count != 1 else ''} for you"
        words = {
            "title": headline,
            "headline": headline,
            "summary": _day(draft.slot, reader.timezone),
            "preheader": _preheader(titles),
            "preferences_url": self._links.preferences(reader.id),
            "unsubscribe_url": self._links.unsubscribe(reader.id),
        }
        html_words = {name: quoted.encoded(html.escape(word)) for name, word in words.items()}
        text_words = {name: quoted.encoded(word) for name, word in words.items()}
        site = self._settings.origin
        if more > 0:
            said = f"{more} more paper{'s' if more != 1 else ''} matched your topics."
            link = f'<a href="{html.escape(site)}/search">Search the archive</a>'
            html_words["more"] = quoted.encoded(f"<p>{said} {link}</p>")
            text_words["more"] = quoted.encoded(f"{said} Search the archive:\n{site}/search\n")
        else:
            html_words["more"] = text_words["more"] = b""
        return _FrameValues(html_words, text_words)

    def _frame(self, *, html_part: bool) -> tuple[Fragments, Fragments]:
        parts = self._templates.html_parts("digest") if html_part else self._templates.text_parts("digest")
        render = self._templates.html_from if html_part else self._templates.text_from
        values = {**self._site, **holes(_FRAME_HOLES)}
        return Fragments(render(parts.before, values)), Fragments(render(parts.after, values))

    def _card(self, paper: archive.PaperView, longest: int) -> Card:
        key = (paper.id, longest)
        held = self._cards.get(key)
        if held is not None and held[0] > time.monotonic():
            return held[1]
        card = cards.made(paper, self._templates, self._settings.origin, longest)
        with self._lock:
            if len(self._cards) > 20_000:
                self._cards.clear()
            self._cards[key] = (time.monotonic() + _CARD_SECONDS, card)
        return card

    def _drafts(self, session: Session, claims: Sequence[Claim]) -> dict[int, Draft]:
        wanted = [claim.digest_id for claim in claims if claim.digest_id is not None]
        if not wanted:
            return {}
        columns = (
            Digest.id,
            Digest.slot,
            Digest.paper_ids,
            Digest.reason_papers,
            Digest.reason_queries,
            Digest.matched,
        )
        return {
            row.id: Draft(row.slot, row.paper_ids, row.reason_papers, row.reason_queries, row.matched)
            for row in session.execute(select(*columns).where(Digest.id == func.any(wanted)))
        }

    def _labels(self, session: Session, wanted: Iterable[tuple[int, Draft | None]]) -> dict[tuple[int, int], str]:
        """What each reader calls each query; for an interest given up meanwhile, the query in words."""
        pairs = {(reader, query) for reader, draft in wanted if draft for query in draft.reason_queries}
        if not pairs:
            return {}
        # All interests of these readers: nearly all are wanted, and pairs are slow to bind.
        statement = select(Interest.reader_id, Interest.query_id, Interest.label, Interest.topic_slug).where(
            Interest.reader_id == func.any(sorted({reader for reader, _ in pairs}))
        )
        labels = {
            (reader, query): label if topic or '"' in label else f"“{label}”"
            for reader, query, label, topic in session.execute(statement)
        }
        orphans = {query for reader, query in pairs if (reader, query) not in labels}
        if orphans:
            texts = dict(session.execute(select(Query.id, Query.canonical).where(Query.id.in_(orphans))).all())
            for reader, query in pairs - labels.keys():
                labels[reader, query] = language.explain(language.parse(texts[query]))
        return labels

    def _fetched(self, session: Session, paper_ids: Iterable[int]) -> dict[int, archive.PaperView]:
        wanted = set(paper_ids)
        return archive.by_ids(session, wanted) if wanted else {}

    # ---- letters -----------------------------------------------------------------------------------------------------

    def _letter(self, session: Session, kind: DeliveryKind, reader: Reader) -> _Parts:
        """A mail about the subscription itself."""
        mail = kind.value
        values: dict[str, Any] = {
            **self._site,
            "confirm_url": self._links.confirm(reader.id),
            "preferences_url": self._links.preferences(reader.id),
            "unsubscribe_url": self._links.unsubscribe(reader.id),
            "hour": f"{reader.digest_hour:02d}:00",
            "timezone": reader.timezone,
            "topics": self._followed(session, reader.id) if kind is DeliveryKind.CONFIRM else "",
        }
        subject = self._templates.line(mail, "subject", values)
        values |= {"title": subject, "preheader": self._templates.line(mail, "preheader", values)}
        text = quoted.encoded(self._templates.text(mail, values))
        return _Parts(subject, [text], [quoted.encoded(self._templates.html(mail, values))])

    def _followed(self, session: Session, reader_id: int) -> str:
        statement = select(Interest.label).where(Interest.reader_id == reader_id, ~Interest.muted).order_by(Interest.id)
        labels = session.scalars(statement).all()
        # What a stranger typed into a form is not repeated at length to somebody who never asked for it.
        named = ", ".join(message.shortened(label, 40) for label in labels[:8])
        return named + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")


@dataclass(frozen=True, slots=True)
class _FrameValues:
    html: dict[str, bytes]
    text: dict[str, bytes]


@lru_cache(maxsize=20_000)
def _reason(labels: tuple[str, ...]) -> _FrameValues:
    """The reason of one card, encoded: most readers share theirs with others."""
    reason = _because(labels)
    wrapped = textwrap.fill(reason, 76) if len(reason) > 76 else reason
    return _FrameValues(
        {"reason": quoted.encoded(html.escape(reason))},
        {"reason": quoted.encoded(wrapped)},
    )


@lru_cache(maxsize=1_000)
def _day(slot: datetime, timezone: str) -> str:
    day = slot.astimezone(schedule.zone(timezone))
    return f"{day:%A}, {day.day} {day:%B %Y}"


def _because(labels: Sequence[str]) -> str:
    named = list(dict.fromkeys(labels))[:_NAMED_REASONS]
    if not named:
        return "Because it matches your topics"
    listed = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
    return f"Because you follow {listed}"


def _preheader(titles: Sequence[str]) -> str:
    """What inboxes show behind the subject: titles, 40 to 130 characters."""
    text = message.shortened(" · ".join(titles[:3]), 130)
    return text if len(text) >= 40 else f"{text} · new papers on the topics you follow"


def _deliverable(email: str) -> str:
    if email.isascii():
        return email
    local, _, _ = email.rpartition("@")
    return f"{local}@{addresses.parse(email).domain}"


def _decoded(fragments: Sequence[bytes]) -> str:
    return quopri.decodestring(b"".join(fragments)).decode("utf-8").replace("\r\n", "\n")
