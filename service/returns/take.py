"""Taking one mail that came back: understood, and acted on in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import ReturnEvent, ReturnKind
from service.doorbell import Task, doorbell
from service.returns.mail import MailError, parsed
from service.returns.understand import Nothing, Readers, SignupByMail, understood
from service.settings import Settings
from service.subscribers import accounts, addresses, consent, interests, returned
from service.subscribers.accounts import AccountError, Signup
from service.subscribers.addresses import AddressError
from service.subscribers.consent import Visit
from service.subscribers.interests import InterestError, UnknownTopic, Wish
from service.subscribers.returned import Taken

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of one mail."""

    TAKEN = "taken"
    """Acted on, or known already."""
    IGNORED = "ignored"
    """Understood, and nothing to do: an automatic reply, a delay, a report about nobody that we know."""
    UNKNOWN = "unknown"
    """Nothing that we understand: for a person to look at."""


@dataclass(frozen=True, slots=True)
class TakenMail:
    outcome: Outcome
    why: str
    """One line, without addresses."""


class TooMany(Exception):
    """More sign-ups by mail than are taken in an hour: later. One line."""


def take_mail(
    database: Database,
    settings: Settings,
    content: bytes,
    *,
    source: str,
    recipients: Sequence[str] = (),
    sender: str | None = None,
) -> TakenMail:
    """Act on one mail.

    All that it changes is one transaction, and its events carry keys: killed before the commit nothing has happened,
    and the same mail again, after it or at the same moment, changes nothing more.

    Raises :class:`TooMany`; :class:`sqlalchemy.exc.SQLAlchemyError` when the database fails. No mail raises more.
    """
    try:
        mail = parsed(content, largest=settings.inbound_largest_bytes)
        meaning = understood(mail, source, Readers.of(settings), recipients=recipients, sender=sender)
    except MailError as error:
        log.warning("returns.unreadable", source=source, reason=str(error))
        return TakenMail(Outcome.UNKNOWN, str(error))
    except Exception as error:
        # Whatever one mail provokes, the next must be read.
        log.exception("returns.not_understood", source=source)
        return TakenMail(Outcome.UNKNOWN, f"not understood ({type(error).__name__}): the log tells more")
    match meaning:
        case Nothing():
            known = meaning.why != "no report that we know"
            return TakenMail(Outcome.IGNORED if known else Outcome.UNKNOWN, meaning.why)
        case SignupByMail():
            return _sign_up(database, settings, meaning, source)
        case _:
            with database.transaction() as session:
                found = {returned.take(session, settings, event) for event in meaning}
    if found <= {Taken.STRANGER}:
        return TakenMail(Outcome.IGNORED, "about nobody that we know")
    return TakenMail(Outcome.TAKEN, ", ".join(sorted(found - {Taken.STRANGER})))


def _sign_up(database: Database, settings: Settings, wanted: SignupByMail, source: str) -> TakenMail:
    """As the form on the site does: pending, and one confirmation mail, whose link must be opened.

    The address in From is only claimed, so nothing but that mail follows, and what is not understood is not told: an
    unknown topic becomes the default one, as the confirmation mail shows.
    """
    now = datetime.now(UTC)
    try:
        address = addresses.parse(wanted.email)
    except AddressError:
        return TakenMail(Outcome.IGNORED, "a sign-up from an address that cannot receive mail")
    try:
        with database.transaction() as session:
            address_hash = addresses.hashed(settings, address.key)
            if not _count_signup(session, settings, wanted, source, address_hash, now):
                return TakenMail(Outcome.TAKEN, Taken.KNOWN)
            signup = Signup(
                email=wanted.email,
                wishes=_wishes(session, wanted.topics),
                visit=Visit("mail to the subscribe address"),
                wording=consent.MAIL_WORDING,
            )
            accounts.subscribe(session, settings, signup, now=now)
    except (AccountError, InterestError) as error:
        log.warning("returns.signup_refused", reason=type(error).__name__)
        return TakenMail(Outcome.IGNORED, "a sign-up that cannot be taken")
    doorbell(settings).ring(Task.SEND_DUE)
    return TakenMail(Outcome.TAKEN, "a sign-up")


def _count_signup(
    session: Session, settings: Settings, wanted: SignupByMail, source: str, address_hash: bytes, now: datetime
) -> bool:
    """Append the request. False: taken before. Raises :class:`TooMany`."""
    event = {
        "key": returned.key_of("signup", wanted.key, address_hash.hex()),
        "kind": ReturnKind.SUBSCRIBE.value,
        "address_hash": address_hash,
        "source": source,
        "at": now,
    }
    if session.scalar(insert(ReturnEvent).values(event).on_conflict_do_nothing().returning(ReturnEvent.id)) is None:
        return False
    recent = select(func.count()).where(
        ReturnEvent.kind == ReturnKind.SUBSCRIBE, ReturnEvent.at > now - timedelta(hours=1)
    )
    if session.scalars(recent).one() > settings.subscribe_mails_per_hour:
        raise TooMany("more sign-ups by mail than are taken in an hour")
    return True


def _wishes(session: Session, topics: Sequence[str]) -> list[Wish]:
    wishes: list[Wish] = []
    for slug in topics:
        try:
            wishes += interests.from_topics(session, [slug if slug.startswith("arxiv:") else slug.lower()])
        except UnknownTopic:
            continue
    return wishes
