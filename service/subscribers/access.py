"""A reader's keys for programs: bearer tokens of the HTTP API, given for a mailed code; the personal feed's address.

A token is random and kept as a hash; a feed address is signed and bound to a nonce. Both are a reader's to revoke.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import AccessToken, Digest, FeedKey, Reader
from service.settings import Settings
from service.subscribers.tokens import ForgedToken, Links, Purpose

TOKEN_LIFETIME: Final = timedelta(days=90)
PREFIX: Final = "paperround_"
"""Lets secret scanners and people recognise a token."""


@dataclass(frozen=True, slots=True)
class GivenToken:
    """A new token: the only time it is seen."""

    token: str
    expires_at: datetime


def exchange(session: Session, links: Links, code: str, *, now: datetime | None = None) -> GivenToken:
    """Give a token for a mailed code, once. Raises :class:`TokenError` for a code that is forged, old or used."""
    moment = now or datetime.now(UTC)
    reader_id = links.read(Purpose.TOKEN, code)
    if session.get(Reader, reader_id) is None:
        raise ForgedToken("this subscription does not exist any more: subscribe again")
    token = PREFIX + secrets.token_urlsafe(32)
    row = {
        "reader_id": reader_id,
        "digest": _digest(token),
        # Of what is signed, not of how it is spelt: base64 has several spellings of one code.
        "code_digest": _digest(links.signed_content(Purpose.TOKEN, code)),
        "expires_at": moment + TOKEN_LIFETIME,
    }
    statement = insert(AccessToken).values(row).on_conflict_do_nothing(index_elements=[AccessToken.code_digest])
    # Two programs with one code: the unique code lets one row in.
    if session.scalar(statement.returning(AccessToken.id)) is None:
        raise ForgedToken("this code has been used: ask for a new one")
    return GivenToken(token, moment + TOKEN_LIFETIME)


def reader_of(session: Session, token: str, *, now: datetime | None = None) -> int | None:
    """The reader a token stands for; None for one that is unknown, old or revoked."""
    statement = select(AccessToken.reader_id).where(
        AccessToken.digest == _digest(token),
        AccessToken.expires_at > (now or datetime.now(UTC)),
        AccessToken.revoked_at.is_(None),
    )
    return session.scalar(statement)


def revoke(session: Session, token: str) -> None:
    """End one token. Twice is as good as once."""
    _revoke(session, AccessToken.digest == _digest(token))


def revoke_all(session: Session, reader_id: int) -> None:
    """End every token of a reader."""
    _revoke(session, AccessToken.reader_id == reader_id)


def feed_token(session: Session, settings: Settings, reader_id: int) -> str:
    """The secret in a reader's feed address, the same until it is rotated."""
    row = {"reader_id": reader_id, "nonce": secrets.token_urlsafe(12)}
    session.execute(insert(FeedKey).values(row).on_conflict_do_nothing())
    nonce = session.scalars(select(FeedKey.nonce).where(FeedKey.reader_id == reader_id)).one()
    return str(_feed_signer(settings).dumps([reader_id, nonce]))


def rotate_feed(session: Session, settings: Settings, reader_id: int) -> str:
    """A new feed address; the old one is void from the commit on."""
    row = {"reader_id": reader_id, "nonce": secrets.token_urlsafe(12), "rotated_at": datetime.now(UTC)}
    fresh = {"nonce": row["nonce"], "rotated_at": row["rotated_at"]}
    statement = insert(FeedKey).values(row)
    session.execute(statement.on_conflict_do_update(index_elements=[FeedKey.reader_id], set_=fresh))
    return feed_token(session, settings, reader_id)


def feed_reader(session: Session, settings: Settings, token: str) -> int:
    """The reader whose feed this is. Raises :class:`ForgedToken` for an address not signed by us or rotated away."""
    void = ForgedToken("this feed address is not valid any more: take the new one from your preferences")
    try:
        reader_id, nonce = _feed_signer(settings).loads(token)
    except (BadData, ValueError, TypeError):
        raise void from None
    held = session.scalar(select(FeedKey.nonce).where(FeedKey.reader_id == reader_id))
    if held is None or not secrets.compare_digest(held, str(nonce)):
        raise void
    return int(reader_id)


def digested(session: Session, reader_id: int, *, limit: int) -> list[tuple[int, datetime]]:
    """The papers of a reader's newest digests, each with when it was put there; newest digest first."""
    statement = select(Digest.paper_ids, Digest.slot).where(Digest.reader_id == reader_id).order_by(Digest.slot.desc())
    found: dict[int, datetime] = {}
    for paper_ids, slot in session.execute(statement.limit(limit)):
        for paper in paper_ids:
            found.setdefault(paper, slot)
    return list(found.items())[:limit]


def _revoke(session: Session, *where: object) -> None:
    statement = update(AccessToken).where(*where, AccessToken.revoked_at.is_(None))  # type: ignore[arg-type]  # conditions
    session.execute(statement.values(revoked_at=datetime.now(UTC)).execution_options(synchronize_session=False))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _feed_signer(settings: Settings) -> URLSafeSerializer:
    return URLSafeSerializer(settings.verifying_keys, salt="paperround feed")
