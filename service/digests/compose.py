"""From claimed deliveries to messages for the wire.

What is the same for all readers is encoded once: the digest's frame, and each paper's card. For a reader there remain a
few lines to fill in, and a join. Who is no longer entitled to a mail gets none: that is decided here and looked at once
more by the sender.
"""

from __future__ import annotations

import hashlib
import html
import quopri
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Label, func, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NULLTYPE

from service import translation
from service.database.tables import (
    Abstracts,
    Cadence,
    DeliveryKind,
    Digest,
    EditorNote,
    Interest,
    Query,
    Reader,
    ReaderState,
)
from service.digests import cards, evidence, message, note, quoted
from service.digests.cards import Card
from service.digests.evidence import NOTHING, Evidence, Readings
from service.digests.lines import wrapped
from service.digests.message import Headers, Sender
from service.digests.templates import Fragments, holes, templates
from service.matching import language
from service.matching.expression import Expression
from service.outbox import letters
from service.outbox.claims import Claim
from service.outbox.kinds import DIGESTS, ENTITLED
from service.outbox.letters import LetterView
from service.papers import archive
from service.settings import Settings
from service.subscribers import addresses, interests, schedule, suppression
from service.subscribers.return_addresses import ReturnAddresses
from service.subscribers.tokens import Links
from service.translation import ENGLISH, Language, gettext, joined, ngettext, topical

SITE_NAME: Final = "Paperround"
MOST_HTML_BYTES: Final = 95_000
"""Mail programs cut longer HTML off (Gmail at about 102 KB)."""
USUAL_BYTES: Final = 38_000
"""Of both parts of a digest of ten papers or fewer: abstracts are cut shorter where they would make it longer."""
_USUAL_PAPERS: Final = 10
_CARD_SECONDS: Final = 600.0
"""A card older than this is made anew: counts and a withdrawal may have changed."""
_MOST_PAPERS: Final = 20_000
_MOST_EVIDENCE: Final = 200_000
_NAMED_REASONS: Final = 3
_NO_LINK: Final = re.compile(r"[\w\s\"*()|&+’'-]+")
_FRAME_HOLES: Final = (
    "title", "headline", "summary", "note", "preheader", "more", "preferences_url", "unsubscribe_url",
)  # fmt: skip
_LISTED: Final = DIGESTS | {DeliveryKind.WELCOME, DeliveryKind.PAUSE_ENDED}
"""Part of the list: these carry one-click unsubscribe (RFC 8058)."""


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
    trending_ids: Sequence[int] = ()
    digest_id: int | None = None
    """The row; None where nothing is stored yet, as in a preview."""
    note: str = ""
    """The editor's, on top."""


@dataclass(frozen=True, slots=True)
class Material:
    """What some digests are made from, read from the database."""

    readers: Mapping[int, Addressee]
    drafts: Mapping[int, Draft]
    """By the digest's id."""
    labels: Mapping[tuple[int, int], str]
    """What each reader calls each query, by their ids."""
    papers: Mapping[int, archive.PaperView]


class Addressee(NamedTuple):
    """What composing needs to know of a reader."""

    id: int
    email: str
    address_key: str
    state: str
    timezone: str
    digest_hour: int
    language: str
    cadence: str
    abstracts: str
    plain_text: bool
    paused_until: datetime | None


_ADDRESSEE: Final = tuple(getattr(Reader, field) for field in Addressee._fields)


def addressees(session: Session, reader_ids: Iterable[int]) -> dict[int, Addressee]:
    """The readers of these ids who are there. As rows: the mapper takes as long over a reader as composing does."""
    found = session.execute(select(*_ADDRESSEE).where(Reader.id == func.any(list(reader_ids))))
    return {row.id: Addressee._make(row) for row in found}


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
    unsubscribe_url: str | None = None
    """The one in the text: signed once, it serves the headers too."""


class Composer:
    """Composes for one installation; keeps cards and the frame. Safe for several threads."""

    def __init__(self, settings: Settings, links: Links | None = None) -> None:
        self._settings = settings
        self._links = links or Links(settings)
        self._returns = ReturnAddresses(settings)
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
        }
        self._frames: dict[str, _Frame] = {}
        """By language."""
        self._cards: dict[tuple[str, int], tuple[float, dict[int, Card]]] = {}
        """By language and paper: until when they serve, and by the length of the abstract."""
        self._papers: dict[int, tuple[float, archive.PaperView]] = {}
        self._readings: dict[int, tuple[float, Readings]] = {}
        self._evidence: dict[tuple[int, int], tuple[float, Evidence]] = {}
        self._expressions: dict[int, Expression] = {}
        """Of queries by id: a query never changes its meaning."""
        self._lock = threading.Lock()

    # ---- for the sender ----------------------------------------------------------------------------------------------

    def compose(self, session: Session, claims: Sequence[Claim]) -> list[Composed | Withheld]:
        """One result for each claim, in their order."""
        read = self.material(session, claims)
        readers, drafts, labels, papers = read.readers, read.drafts, read.labels, read.papers
        hashes = {each.id: addresses.hashed(self._settings, each.address_key) for each in readers.values()}
        written = self._written(session, claims)
        suppressed = suppression.among(session, hashes.values())
        now = datetime.now(UTC)
        made: list[Composed | Withheld] = []
        for claim in claims:
            reader = readers.get(claim.reader_id)
            if claim.kind in letters.KINDS:
                made.append(self._posted(claim, reader, written.get(claim.delivery_id), now))
            elif reader is None:
                made.append(Withheld(claim.delivery_id, "the reader is gone"))
            elif ReaderState(reader.state) not in ENTITLED[claim.kind]:
                made.append(Withheld(claim.delivery_id, f"the reader is {reader.state}"))
            elif hashes[reader.id] in suppressed:
                made.append(Withheld(claim.delivery_id, "the address is suppressed"))
            elif claim.kind in DIGESTS and reader.paused_until is not None and reader.paused_until > now:
                made.append(Withheld(claim.delivery_id, "the reader has paused"))
            elif claim.kind not in DIGESTS:
                with translation.speaking(translation.of(reader.language)):
                    parts = self._notice(session, claim.kind, reader)
                made.append(self._sealed(claim, reader, parts, now))
            elif (draft := drafts.get(claim.digest_id or 0)) is None:
                made.append(Withheld(claim.delivery_id, "the digest is gone"))
            elif not any(paper in papers for paper in draft.paper_ids):
                made.append(Withheld(claim.delivery_id, "its papers are gone"))
            else:
                made.append(self.digest(claim, reader, draft, labels, papers, now))
        return made

    def material(self, session: Session, claims: Sequence[Claim]) -> Material:
        """What the digests of these claims are made from; what their queries look for is learned on the way."""
        drafts = self._drafts(session, claims)
        self._learn(session, drafts.values())
        readers = addressees(session, {claim.reader_id for claim in claims})
        return Material(
            readers=readers,
            drafts=drafts,
            labels=self._labels(
                session,
                [(claim.reader_id, drafts.get(claim.digest_id or 0)) for claim in claims],
                {each.id: translation.of(each.language) for each in readers.values()},
            ),
            papers=self._fetched(session, drafts.values()),
        )

    def digest(
        self,
        claim: Claim,
        reader: Reader | Addressee,
        draft: Draft,
        labels: Mapping[tuple[int, int], str],
        papers: Mapping[int, archive.PaperView],
        now: datetime,
    ) -> Composed:
        """One digest from what was read for it (:meth:`material`). No I/O."""
        with translation.speaking(translation.of(reader.language)):
            parts = self._digest(reader, draft, labels, papers)
        return self._sealed(claim, reader, parts, now)

    def preview(self, session: Session, reader_id: int, draft: Draft) -> RenderedMail:
        """The digest that ``draft`` would become, to be looked at. Raises LookupError for a reader who is gone."""
        reader = session.get(Reader, reader_id)
        if reader is None:
            raise LookupError("the reader is gone")
        return self.shown(session, reader, draft)

    def shown(
        self, session: Session, reader: Reader, draft: Draft, labels: Mapping[tuple[int, int], str] | None = None
    ) -> RenderedMail:
        """The same for a reader who need not be stored, with ``labels`` for their interests."""
        labels = labels or self._labels(session, [(reader.id, draft)], {reader.id: translation.of(reader.language)})
        papers = self._fetched(session, [draft])
        self._learn(session, [draft])
        with translation.speaking(translation.of(reader.language)):
            parts = self._digest(reader, draft, labels, papers)
        return RenderedMail(parts.subject, _decoded(parts.html), _decoded(parts.text))

    def _sealed(self, claim: Claim, reader: Reader | Addressee, parts: _Parts, now: datetime) -> Composed:
        recipient = _deliverable(reader.email)
        listed = claim.kind in _LISTED
        headers = Headers(
            recipient=recipient,
            subject=parts.subject,
            message_id=claim.message_id,
            date=now,
            stream=claim.kind.value,
            one_click_url=(parts.unsubscribe_url or self._links.unsubscribe(reader.id)) if listed else None,
            unsubscribe_address=self._returns.unsubscribe(reader.id) if listed else None,
        )
        content = message.assembled(self._sender, headers, parts.text, parts.html)
        return Composed(claim.delivery_id, self._returns.bounce(claim.delivery_id), recipient, content)

    # ---- digests -----------------------------------------------------------------------------------------------------

    def _digest(
        self,
        reader: Reader | Addressee,
        draft: Draft,
        labels: Mapping[tuple[int, int], str],
        papers: Mapping[int, archive.PaperView],
    ) -> _Parts:
        reader_id, language, now = reader.id, translation.current(), time.monotonic()
        shown = [(place, papers[paper]) for place, paper in enumerate(draft.paper_ids) if paper in papers]
        reasons: dict[int, list[int]] = {}
        for place, query in zip(draft.reason_papers, draft.reason_queries, strict=True):
            reasons.setdefault(place, []).append(query)
        titles = [paper.title for _, paper in shown]
        leading = [labels[reader_id, reasons[place][0]] for place, _ in shown if place in reasons]
        entries = [
            (paper, self._reason(language, paper, [labels[reader_id, query] for query in found], found, now))
            for place, paper in shown
            for found in [reasons.get(place, [])]
        ]
        trending = [papers[paper] for paper in draft.trending_ids if paper in papers]
        asides = [(paper, _trending(language, first=number == 0)) for number, paper in enumerate(trending)]
        unsubscribe_url = self._links.unsubscribe(reader_id)
        values = self._frame_values(reader, draft, titles, unsubscribe_url)
        frame = self._frame()
        html_before, html_after = (each.filled(values.html) for each in frame.html)
        text_before, text_after = (each.filled(values.text) for each in frame.text)
        full, weekly = reader.abstracts == Abstracts.FULL, reader.cadence == Cadence.WEEKLY
        feedback = quoted.encoded(f"{self._links.feedback(reader_id)}/")
        chosen = self._fitting(
            entries,
            asides,
            longest=cards.FULL_ABSTRACT if full else cards.LONGEST_ABSTRACT,
            most_bytes=None if full or len(shown) > _USUAL_PAPERS else USUAL_BYTES,
            around=(sum(map(len, html_before + html_after)), sum(map(len, text_before + text_after))),
            feedback=len(feedback),
            now=now,
        )
        html_parts, text_parts = html_before, text_before
        for card, (_, reason) in zip(chosen, entries + asides, strict=True):
            html_parts += card.html.filled({"reason": reason.html, "feedback": feedback})
            text_parts += card.text.filled({"reason": reason.text, "feedback": feedback})
        html_parts += html_after
        text_parts += text_after
        opening = gettext("Your week:") + " " if weekly else ""
        subject = opening + message.subject(leading, titles, message.LONGEST_SUBJECT - len(opening))
        return _Parts(subject, text_parts, [] if reader.plain_text else html_parts, unsubscribe_url)

    def _fitting(
        self,
        entries: Sequence[_Entry],
        asides: Sequence[_Entry],
        *,
        longest: int,
        most_bytes: int | None,
        around: tuple[int, int],
        feedback: int,
        now: float,
    ) -> list[Card]:
        """The cards of ``entries`` and then ``asides``, with abstracts as long as the size of the mail lets them be.

        At most ``longest`` characters, and halved until the HTML is within MOST_HTML_BYTES and both parts together
        within ``most_bytes``. In bytes: ``around`` is what stands around the cards in HTML and in text, ``feedback``
        what fills that hole. All of it is encoded length, which bounds the decoded one: so nothing is filled in vain.
        """
        tag = translation.current().tag
        beside = [self._card(paper, self._held(tag, paper, now), cards.LONGEST_ABSTRACT // 3) for paper, _ in asides]
        held = [(paper, self._held(tag, paper, now)) for paper, _ in entries]
        holes = self._card(*held[0], longest)  # All cards are of one template, so they have the same.
        reasons = [reason for _, reason in (*entries, *asides)]
        html_size = (
            around[0]
            + sum([card.html.size for card in beside])
            + sum([len(reason.html) for reason in reasons]) * holes.html.count("reason")
            + feedback * len(reasons) * holes.html.count("feedback")
        )
        text_size = (
            around[1]
            + sum([card.text.size for card in beside])
            + sum([len(reason.text) for reason in reasons]) * holes.text.count("reason")
            + feedback * len(reasons) * holes.text.count("feedback")
        )
        while True:
            chosen = [lengths.get(longest) or self._card(paper, lengths, longest) for paper, lengths in held]
            pages = html_size + sum([card.html.size for card in chosen])
            whole = pages + text_size + sum([card.text.size for card in chosen])
            fits = pages <= MOST_HTML_BYTES and (most_bytes is None or whole <= most_bytes)
            if fits or longest <= cards.LONGEST_ABSTRACT // 8:
                return chosen + beside
            longest //= 2

    def _reason(
        self,
        language: Language,
        paper: archive.PaperView,
        labels: Sequence[str],
        queries: Sequence[int],
        now: float,
    ) -> Evidence:
        """Why the paper is there, in the reader's words, then in the paper's: those of the strongest reason."""
        said = _said(language, tuple(labels))
        if not queries:
            return said
        held = self._evidence.get((paper.id, queries[0]))
        shown = held[1] if held is not None and held[0] > now else self._shown(paper, queries[0], now)
        return Evidence(said.html + shown.html, said.text + shown.text)

    def _shown(self, paper: archive.PaperView, query: int, now: float) -> Evidence:
        meant = self._expressions.get(query)
        if meant is None:
            return NOTHING
        read = self._readings.get(paper.id)
        if read is None or read[0] <= now:
            read = (now + _CARD_SECONDS, evidence.read(paper))
        made = evidence.encoded(evidence.found(read[1], meant))
        with self._lock:
            if len(self._readings) > _MOST_PAPERS:
                self._readings.clear()
            if len(self._evidence) > _MOST_EVIDENCE:
                self._evidence.clear()
            self._readings[paper.id] = read
            self._evidence[paper.id, query] = (now + _CARD_SECONDS, made)
        return made

    def _learn(self, session: Session, drafts: Iterable[Draft]) -> None:
        """What the queries of these drafts look for, those that are not known yet."""
        wanted = {query for draft in drafts for query in draft.reason_queries} - self._expressions.keys()
        if not wanted:
            return
        found = session.execute(select(Query.id, Query.canonical).where(Query.id.in_(wanted))).all()
        learned = {query: language.recall(canonical) for query, canonical in found}
        with self._lock:
            if len(self._expressions) > _MOST_EVIDENCE:
                self._expressions.clear()
            self._expressions |= learned

    def _frame_values(
        self, reader: Reader | Addressee, draft: Draft, titles: Sequence[str], unsubscribe_url: str
    ) -> _FrameValues:
        count, language = len(titles), translation.current()
        more = draft.matched - count
        headline, day = _occasion(language, count, draft.slot, reader.timezone, weekly=reader.cadence == Cadence.WEEKLY)
        words = {
            "title": headline,
            "headline": headline,
            "summary": day,
            "note": note.encoded(draft.note, language),
            "preheader": _encoded(_preheader(titles)),
            "preferences_url": _encoded_url(self._links.preferences(reader.id)),
            "unsubscribe_url": _encoded_url(unsubscribe_url),
            "more": NOTHING,
        }
        if more > 0:
            site = self._settings.origin
            url = f"{site}/search" if draft.digest_id is None else self._links.digest(draft.digest_id)
            said, link = _more(language, more), _encoded_url(url)
            words["more"] = Evidence(
                b"".join((_LINK_OPENS, link.html, _LINK_HOLDS, said.html, _LINK_ENDS)),
                b"".join((said.text, link.text, _LINE_ENDS)),
            )
        return _FrameValues(
            {name: word.html for name, word in words.items()}, {name: word.text for name, word in words.items()}
        )

    def _frame(self) -> _Frame:
        tag = translation.current().tag
        if (held := self._frames.get(tag)) is not None:
            return held
        values = {**self._site, **holes(_FRAME_HOLES)}
        page, plain = self._templates.html_parts("digest"), self._templates.text_parts("digest")
        made = _Frame(
            tuple(Fragments(self._templates.html_from(each, values)) for each in (page.before, page.after)),
            tuple(Fragments(self._templates.text_from(each, values)) for each in (plain.before, plain.after)),
        )
        self._frames[tag] = made
        return made

    def _held(self, tag: str, paper: archive.PaperView, now: float) -> dict[int, Card]:
        """The cards of a paper that are made and not too old, by the length of the abstract."""
        found = self._cards.get((tag, paper.id))
        if found is not None and found[0] > now:
            return found[1]
        lengths: dict[int, Card] = {}
        with self._lock:
            if len(self._cards) > _MOST_PAPERS:
                self._cards.clear()
            self._cards[tag, paper.id] = (now + _CARD_SECONDS, lengths)
        return lengths

    def _card(self, paper: archive.PaperView, lengths: dict[int, Card], longest: int) -> Card:
        """One of :meth:`_held`. Two threads may make the same one, and either serves."""
        card = lengths.get(longest)
        if card is None:
            card = lengths[longest] = cards.made(paper, self._templates, self._settings.origin, longest)
        return card

    def _drafts(self, session: Session, claims: Sequence[Claim]) -> dict[int, Draft]:
        wanted = [claim.digest_id for claim in claims if claim.digest_id is not None]
        if not wanted:
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
        return {
            row.id: Draft(
                row.slot,
                row.paper_ids,
                row.reason_papers,
                row.reason_queries,
                row.matched,
                row.trending_ids,
                row.id,
                row.words or "",
            )
            for row in session.execute(
                select(*columns)
                .outerjoin(EditorNote, EditorNote.id == Digest.note_id)
                .where(Digest.id == func.any(wanted))
            )
        }

    def _labels(
        self, session: Session, wanted: Iterable[tuple[int, Draft | None]], languages: Mapping[int, Language]
    ) -> dict[tuple[int, int], str]:
        """What each reader calls each query, topics in the reader's language; for an interest given up meanwhile, the
        query in words."""
        pairs = {(reader, query) for reader, draft in wanted if draft for query in draft.reason_queries}
        if not pairs:
            return {}
        # All interests of these readers: nearly all are wanted, and pairs are slow to bind.
        statement = select(Interest.reader_id, Interest.query_id, Interest.label, Interest.topic_slug).where(
            Interest.reader_id == func.any(sorted({reader for reader, _ in pairs}))
        )
        labels = {
            (reader, query): _label(languages[reader], label, topic is not None)
            for reader, query, label, topic in session.execute(statement)
            if reader in languages
        }
        orphans = {query for reader, query in pairs if (reader, query) not in labels}
        if orphans:
            texts = dict(session.execute(select(Query.id, Query.canonical).where(Query.id.in_(orphans))).all())
            for reader, query in pairs - labels.keys():
                with translation.speaking(languages.get(reader, ENGLISH)):
                    labels[reader, query] = language.explain(language.recall(texts[query]))
        return labels

    def _fetched(self, session: Session, drafts: Iterable[Draft]) -> dict[int, archive.PaperView]:
        """The papers of these drafts, as they are or were when their cards could have been made."""
        wanted = {paper for draft in drafts for paper in (*draft.paper_ids, *draft.trending_ids)}
        now = time.monotonic()
        held = {paper: kept[1] for paper in wanted if (kept := self._papers.get(paper)) is not None and kept[0] > now}
        missing = wanted - held.keys()
        if not missing:
            return held
        found = archive.by_ids(session, missing)
        with self._lock:
            if len(self._papers) > _MOST_PAPERS:
                self._papers.clear()
            self._papers.update((paper, (now + _CARD_SECONDS, view)) for paper, view in found.items())
        return held | found

    # ---- mails about the subscription itself -------------------------------------------------------------------------

    def _notice(self, session: Session, kind: DeliveryKind, reader: Reader | Addressee) -> _Parts:
        values: dict[str, Any] = {
            "preferences_url": self._links.preferences(reader.id),
            "token_url": self._links.access_token(reader.id),
            "unsubscribe_url": self._links.unsubscribe(reader.id),
            "hour": f"{reader.digest_hour:02d}:00",
            "timezone": reader.timezone,
        }
        match kind:
            case DeliveryKind.CONFIRM:
                values["confirm_url"] = self._links.confirm(reader.id)
                values["topics"] = self._followed(session, reader.id)
            case DeliveryKind.SIGN_IN:
                values["sign_in_url"] = self._links.sign_in(reader.id)
        return self._rendered(kind.value, values, plain_text=reader.plain_text)

    def _written(self, session: Session, claims: Sequence[Claim]) -> dict[int, tuple[LetterView, bool]]:
        """The letters among these claims, and whether their addresses are suppressed."""
        wanted = [claim.delivery_id for claim in claims if claim.kind in letters.KINDS]
        if not wanted:
            return {}
        found = letters.of(session, wanted)
        hashes = {each: addresses.hashed(self._settings, letter.address_key) for each, letter in found.items()}
        suppressed = suppression.among(session, hashes.values())
        return {each: (letter, hashes[each] in suppressed) for each, letter in found.items()}

    def _posted(
        self, claim: Claim, reader: Reader | Addressee | None, written: tuple[LetterView, bool] | None, now: datetime
    ) -> Composed | Withheld:
        """A mail to an address that is not, or no longer, a reader's."""
        if written is None or (reader is None and claim.kind not in letters.READERLESS):
            return Withheld(claim.delivery_id, "the reader is gone")
        letter, suppressed = written
        if suppressed:
            return Withheld(claim.delivery_id, "the address is suppressed")
        if reader is not None and ReaderState(reader.state) not in ENTITLED.get(claim.kind, ()):
            return Withheld(claim.delivery_id, f"the reader is {reader.state}")
        values = dict(letter.facts)
        if claim.kind is DeliveryKind.ADDRESS_CONFIRM:
            values["address_url"] = self._links.address(values["change"])
        if claim.kind is DeliveryKind.OPERATOR_LINK:
            values["operator_url"] = self._links.operator(values["operator"])
        with translation.speaking(translation.of(letter.language)):
            if claim.kind is DeliveryKind.TEST:
                parts = _frozen(values)
            else:
                parts = self._rendered(claim.kind.value, values, plain_text=letter.plain_text)
        recipient = _deliverable(letter.email)
        headers = Headers(
            recipient=recipient,
            subject=parts.subject,
            message_id=claim.message_id,
            date=now,
            stream=claim.kind.value,
        )
        content = message.assembled(self._sender, headers, parts.text, parts.html)
        return Composed(claim.delivery_id, self._returns.bounce(claim.delivery_id), recipient, content)

    def _rendered(self, mail: str, values: Mapping[str, Any], *, plain_text: bool) -> _Parts:
        words = {**self._site, **values}
        subject = self._templates.line(mail, "subject", words)
        words |= {"title": subject, "preheader": self._templates.line(mail, "preheader", words)}
        page = [] if plain_text else [quoted.encoded(self._templates.html(mail, words))]
        return _Parts(subject, [quoted.encoded(self._templates.text(mail, words))], page)

    def _followed(self, session: Session, reader_id: int) -> str:
        statement = (
            select(Interest.label, Interest.topic_slug, Query.canonical)
            .join(Query, Query.id == Interest.query_id)
            .where(Interest.reader_id == reader_id, ~Interest.muted)
            .order_by(Interest.id)
        )
        # What a stranger typed into a form is not repeated at length to somebody who never asked for it; and where a
        # mail program could make a link of it, what was understood is said instead.
        labels = [
            interests.said(label, topic)
            if topic or _NO_LINK.fullmatch(label)
            else language.explain(language.recall(canonical))
            for label, topic, canonical in session.execute(statement)
        ]
        named = ", ".join(message.shortened(label, 40) for label in labels[:8])
        if len(labels) <= 8:
            return named
        return ngettext("%(named)s and %(num)s more", "%(named)s and %(num)s more", len(labels) - 8, named=named)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands before the cards and after them, in one language."""

    html: tuple[Fragments, ...]
    text: tuple[Fragments, ...]


@dataclass(frozen=True, slots=True)
class _FrameValues:
    html: dict[str, bytes]
    text: dict[str, bytes]


_Entry = tuple[archive.PaperView, Evidence]
"""A paper and why it is there."""
_LINK_OPENS: Final = quoted.encoded('<p><a href="')
_LINK_HOLDS: Final = quoted.encoded('">')
_LINK_ENDS: Final = quoted.encoded("</a></p>")
_LINE_ENDS: Final = quoted.encoded("\n")


@lru_cache(maxsize=10_000)
def _encoded(words: str) -> Evidence:
    """Words for both parts. Remembered, since those of many readers are the same."""
    return Evidence(quoted.encoded(html.escape(words)), quoted.encoded(words))


def _encoded_url(url: str) -> Evidence:
    """A link for both parts; each is another."""
    plain, escaped = quoted.encoded(url), html.escape(url)
    return Evidence(plain if escaped == url else quoted.encoded(escaped), plain)


@lru_cache(maxsize=1_000)
def _occasion(
    _language: Language, count: int, slot: datetime, timezone: str, *, weekly: bool
) -> tuple[Evidence, Evidence]:
    """The headline and the day below it."""
    day = translation.day(slot.astimezone(schedule.zone(timezone)))
    if weekly:
        headline = ngettext("%(num)s new paper of your week", "%(num)s new papers of your week", count)
        day = gettext("The week to %(day)s", day=day)
    else:
        headline = ngettext("%(num)s new paper for you", "%(num)s new papers for you", count)
    return _encoded(headline), _encoded(day)


@lru_cache(maxsize=10_000)
def _more(_language: Language, more: int) -> Evidence:
    said = ngettext("… and %(num)s more that matched your topics", "… and %(num)s more that matched your topics", more)
    return Evidence(quoted.encoded(html.escape(said)), quoted.encoded(f"{said}:\n"))


@lru_cache(maxsize=50_000)
def _label(of: Language, label: str, is_topic: bool) -> str:
    """An interest as its reader calls it."""
    with translation.speaking(of):
        if is_topic:
            return topical(label)
        return label if '"' in label else gettext("“%(words)s”", words=label)


@lru_cache(maxsize=50_000)
def _said(_language: Language, labels: tuple[str, ...]) -> Evidence:
    """``_language`` is the one of the moment: it belongs to what is remembered."""
    said = _because(labels)
    return Evidence(quoted.encoded(html.escape(said)), quoted.encoded(wrapped(said)))


@lru_cache(maxsize=2 * len(translation.LANGUAGES))
def _trending(_language: Language, *, first: bool) -> Evidence:
    said = gettext("Widely read these days")
    if first:
        said = gettext("Trending, beside what you asked for. %(why)s", why=said)
    return Evidence(quoted.encoded(html.escape(said)), quoted.encoded(wrapped(said)))


def _as_sent(column: InstrumentedAttribute[list[int]]) -> Label[Any]:
    """An array as psycopg makes it of what the server sends: SQLAlchemy would go through it once more, to no end."""
    return type_coerce(column, NULLTYPE).label(column.key)


def _because(labels: Sequence[str]) -> str:
    named = list(dict.fromkeys(labels))[:_NAMED_REASONS]
    if not named:
        return gettext("Because it matches your topics")
    return gettext("Because you follow %(interests)s", interests=joined(named))


def _preheader(titles: Sequence[str]) -> str:
    """What inboxes show behind the subject: titles, 40 to 130 characters."""
    text = message.shortened(" · ".join(titles[:3]), 130)
    if len(text) >= 40:
        return text
    return gettext("%(titles)s · new papers on the topics that you follow, each with its reason", titles=text)


def _frozen(facts: Mapping[str, str]) -> _Parts:
    page = facts["html"]
    return _Parts(facts["subject"], [quoted.encoded(facts["text"])], [quoted.encoded(page)] if page else [])


def _deliverable(email: str) -> str:
    if email.isascii():
        return email
    local, _, _ = email.rpartition("@")
    return f"{local}@{addresses.parse(email).domain}"


def _decoded(fragments: Sequence[bytes]) -> str:
    return quopri.decodestring(b"".join(fragments)).decode("utf-8").replace("\r\n", "\n")
