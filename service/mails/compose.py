"""From claimed deliveries to messages for the wire.

Who is no longer entitled to a mail gets none: that is decided here and looked at once more by the sender. What a mail
says is made in ``digest``, ``notices`` and ``letters``.
"""

from __future__ import annotations

import quopri
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from service import translation
from service.database.tables import DeliveryKind, Reader, ReaderState
from service.mails import message
from service.mails.addressee import Addressee, addressee
from service.mails.digest import DigestMail
from service.mails.letterhead import Letterhead
from service.mails.letters import letter_parts
from service.mails.material import Draft, Material, Materials
from service.mails.message import Headers
from service.mails.notices import notice_parts
from service.mails.parts import Parts
from service.outbox import letters
from service.outbox.claims import Claim
from service.outbox.kinds import DIGESTS, ENTITLED
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import addresses, suppression
from service.subscribers.return_addresses import ReturnAddresses
from service.subscribers.tokens import Links

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
class RenderedMail:
    """A mail to look at."""

    subject: str
    html: str
    text: str


class Composer:
    """Composes for one installation; keeps what serves many mails. Safe for several threads."""

    def __init__(self, settings: Settings, links: Links | None = None) -> None:
        self._settings = settings
        self._letterhead = Letterhead(settings, links)
        self._returns = ReturnAddresses(settings)
        self._materials = Materials()
        self._digests = DigestMail(self._letterhead)

    def compose(self, session: Session, claims: Sequence[Claim]) -> list[Composed | Withheld]:
        """One result for each claim, in their order."""
        material = self.material(session, claims)
        lettered = [claim.delivery_id for claim in claims if claim.kind in letters.KINDS]
        found = letters.of(session, lettered) if lettered else {}
        hashes: dict[int, bytes] = {}
        for claim in claims:
            to = found.get(claim.delivery_id) or material.readers.get(claim.reader_id)
            if to is not None:
                hashes[claim.delivery_id] = addresses.hashed(self._settings, to.address_key)
        suppressed = suppression.among(session, hashes.values())
        now = datetime.now(UTC)
        return [
            Withheld(claim.delivery_id, "the address is suppressed")
            if hashes.get(claim.delivery_id) in suppressed
            else self._mail(session, claim, material, found.get(claim.delivery_id), now)
            for claim in claims
        ]

    def _mail(
        self, session: Session, claim: Claim, material: Material, letter: LetterView | None, now: datetime
    ) -> Composed | Withheld:
        reader = material.readers.get(claim.reader_id)
        if reader is not None and ReaderState(reader.state) not in ENTITLED.get(claim.kind, ()):
            return Withheld(claim.delivery_id, f"the reader is {reader.state}")
        if letter is not None and (reader is not None or claim.kind in letters.READERLESS):
            return self._letter(claim, letter, now)
        if reader is None or claim.kind in letters.KINDS:
            return Withheld(claim.delivery_id, "the reader is gone")
        if claim.kind not in DIGESTS:
            with translation.speaking(reader.speaks):
                parts = notice_parts(self._letterhead, session, claim.kind, reader)
            return self._to_reader(claim, reader, parts, now)
        if reader.paused_until is not None and reader.paused_until > now:
            return Withheld(claim.delivery_id, "the reader has paused")
        draft = material.drafts.get(claim.digest_id or 0)
        if draft is None:
            return Withheld(claim.delivery_id, "the digest is gone")
        if not any(paper in material.papers for paper in draft.paper_ids):
            return Withheld(claim.delivery_id, "its papers are gone")
        return self.digest(claim, reader, draft, material, now)

    def material(self, session: Session, claims: Sequence[Claim]) -> Material:
        """What the digests of these claims are made from."""
        return self._materials.of_claims(session, claims)

    def digest(self, claim: Claim, reader: Addressee, draft: Draft, material: Material, now: datetime) -> Composed:
        """One digest from what was read for it (:meth:`material`). No I/O."""
        with translation.speaking(reader.speaks):
            parts = self._digests.parts(reader, draft, material)
        return self._to_reader(claim, reader, parts, now)

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
        to = addressee(reader)
        material = self._materials.of_draft(session, to, draft, labels)
        with translation.speaking(to.speaks):
            parts = self._digests.parts(to, draft, material)
        return RenderedMail(parts.subject, _decoded(parts.html), _decoded(parts.text))

    def _letter(self, claim: Claim, letter: LetterView, now: datetime) -> Composed:
        with translation.speaking(translation.of(letter.language)):
            parts = letter_parts(self._letterhead, claim.kind, letter)
        return self._sealed(claim, _deliverable(letter.email), parts, now)

    def _to_reader(self, claim: Claim, reader: Addressee, parts: Parts, now: datetime) -> Composed:
        recipient = _deliverable(reader.email)
        if claim.kind not in _LISTED:
            return self._sealed(claim, recipient, parts, now)
        one_click_url = parts.unsubscribe_url or self._letterhead.links.unsubscribe(reader.id)
        return self._sealed(claim, recipient, parts, now, one_click_url, self._returns.unsubscribe(reader.id))

    def _sealed(
        self,
        claim: Claim,
        recipient: str,
        parts: Parts,
        now: datetime,
        one_click_url: str | None = None,
        unsubscribe_address: str | None = None,
    ) -> Composed:
        headers = Headers(
            recipient=recipient,
            subject=parts.subject,
            message_id=claim.message_id,
            date=now,
            stream=claim.kind.value,
            one_click_url=one_click_url,
            unsubscribe_address=unsubscribe_address,
        )
        content = message.assembled(self._letterhead.sender, headers, parts.text, parts.html)
        return Composed(claim.delivery_id, self._returns.bounce(claim.delivery_id), recipient, content)


def _deliverable(email: str) -> str:
    if email.isascii():
        return email
    local, _, _ = email.rpartition("@")
    return f"{local}@{addresses.parse(email).domain}"


def _decoded(fragments: Sequence[bytes]) -> str:
    return quopri.decodestring(b"".join(fragments)).decode("utf-8").replace("\r\n", "\n")
