"""From a mail that arrived to what it asks of us. Pure; the secrets are only used to read what we signed.

What the envelope says counts first: a signed address proves which delivery or reader is meant. A report without one is
marked unsigned, and is believed only if it shows the Message-ID of a mail that we sent to the very address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from service.database.tables import ReturnKind
from service.returns import reports
from service.returns.mail import Mail, addresses_in
from service.settings import Settings
from service.subscribers.return_addresses import (
    SUBSCRIBE,
    AddressPurpose,
    ForgedAddress,
    ReturnAddresses,
    SignedAddress,
)
from service.subscribers.returned import Return
from service.subscribers.tokens import Links, Purpose, TokenError

MOST_TOPICS: Final = 50
_ARRIVED_FOR: Final = ("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "To", "Cc")
"""Where a mailbox tells what the envelope said."""
_WORD = re.compile(r"[^\s,;]+")


@dataclass(frozen=True, slots=True)
class SignupByMail:
    """A person asks for papers."""

    email: str
    topics: tuple[str, ...]
    """Words of the subject: slugs of topics, or not."""
    key: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing for us to do. One line: why."""

    why: str


@dataclass(frozen=True, slots=True)
class Readers:
    """What can read our own signatures."""

    addresses: ReturnAddresses
    links: Links

    @classmethod
    def of(cls, settings: Settings) -> Readers:
        return cls(ReturnAddresses(settings), Links(settings))


def understood(
    mail: Mail, source: str, readers: Readers, *, recipients: Sequence[str] = (), sender: str | None = None
) -> list[Return] | SignupByMail | Nothing:
    """What ``mail`` asks for.

    ``recipients`` and ``sender``: of the envelope, where there was one; a mail from a mailbox has only its headers.
    """
    arrived_for = list(recipients) or _arrived_for(mail)
    signed = _signed(arrived_for, readers)
    complaint = reports.complaint(mail)
    if complaint is not None:
        return _complained(mail, complaint, source, readers, signed)
    if mail.report_type == "disposition-notification":
        return Nothing("a read receipt")
    failures = reports.failures(mail)
    if failures is None and mail.report_type is None:
        if signed is not None and signed.purpose is AddressPurpose.UNSUBSCRIBE:
            # No test for automatic mail here: nothing of ours is sent from this address, so nothing answers it, and
            # mail programs mark the unsubscribes that they send by themselves as automatic.
            return [Return(ReturnKind.UNSUBSCRIBE, source, _key(mail, signed), reader_id=signed.id)]
        if signed is None and any(_is_subscribe(address, readers) for address in arrived_for):
            return _signup(mail, sender)
    if failures is None and (signed is None or signed.purpose is AddressPurpose.BOUNCE):
        if signed is not None and _vacation(mail):
            return Nothing("an automatic reply")
        failures = reports.odd_failures(mail)
        if not failures:
            return Nothing("an automatic reply" if reports.automatic(mail, sender) else "no report that we know")
    if not failures:
        return Nothing("a report of a delay or a success")
    return _bounced(mail, failures, source, signed)


def _bounced(
    mail: Mail, failures: Sequence[reports.Failure], source: str, signed: SignedAddress | None
) -> list[Return] | Nothing:
    if signed is not None and signed.purpose is AddressPurpose.BOUNCE:
        # One delivery has one recipient; of several failures in one report the gravest says it.
        failure = min(failures, key=lambda each: list(ReturnKind).index(each.kind))
        return [
            Return(
                failure.kind,
                source,
                _key(mail, signed),
                delivery_id=signed.id,
                code=failure.code,
                diagnostic=failure.diagnostic,
            )
        ]
    message_id = reports.original_message_id(mail)
    if message_id is None:
        return Nothing("a bounce that does not say of which mail")
    return [
        Return(
            failure.kind,
            source,
            _key(mail, recipient),
            email=recipient,
            message_id=message_id,
            unsigned=True,
            code=failure.code,
            diagnostic=failure.diagnostic,
        )
        for failure in failures
        for recipient in failure.recipients
    ]


def _complained(
    mail: Mail, complaint: reports.Complaint, source: str, readers: Readers, signed: SignedAddress | None
) -> list[Return] | Nothing:
    kind, said = ReturnKind.COMPLAINT, complaint.feedback_type
    about = signed or _signed([complaint.return_path], readers) or _from_links(reports.unsubscribe_links(mail), readers)
    if about is not None and about.purpose is AddressPurpose.BOUNCE:
        return [Return(kind, source, _key(mail, about), delivery_id=about.id, diagnostic=said)]
    message_id = reports.original_message_id(mail)
    if about is not None:
        return [Return(kind, source, _key(mail, about), reader_id=about.id, message_id=message_id, diagnostic=said)]
    if message_id is None or not complaint.recipients:
        return Nothing("a complaint that does not say of which mail")
    return [
        Return(kind, source, _key(mail, email), email=email, message_id=message_id, unsigned=True, diagnostic=said)
        for email in dict.fromkeys(complaint.recipients[: reports.MOST_RECIPIENTS])
    ]


def _signup(mail: Mail, sender: str | None) -> SignupByMail | Nothing:
    if reports.automatic(mail, sender):
        return Nothing("an automatic mail to the subscribe address")
    email = mail.author
    if email is None:
        return Nothing("a sign-up from nobody in particular")
    words = [word for word in _WORD.findall(mail.subject) if not word.endswith(":")]
    return SignupByMail(email, tuple(dict.fromkeys(words))[:MOST_TOPICS], mail.digest)


def _vacation(mail: Mail) -> bool:
    """An answer of the reader's own mail program. A bounce says auto-replied too, but comes from no mailbox."""
    answered = mail.header("Auto-Submitted").partition(";")[0].strip().lower()
    marked = answered == "auto-replied" or any(
        mail.header(name) for name in ("X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress")
    )
    author = (mail.author or "").lower()
    return marked and not author.startswith(("mailer-daemon", "postmaster"))


def _key(mail: Mail, about: SignedAddress | str) -> str:
    """A mail about somebody is one event, by whatever door it comes and however often."""
    return f"mail {mail.digest} {about}"


def _arrived_for(mail: Mail) -> list[str]:
    found = []
    for name in _ARRIVED_FOR:
        for value in mail.message.get_all(name, [])[:10]:
            found += [address for _, address in addresses_in(str(value)) if "@" in address][:10]
    return found


def _signed(candidates: Sequence[str], readers: Readers) -> SignedAddress | None:
    for address in candidates:
        try:
            return readers.addresses.read(address)
        except ForgedAddress:
            continue
    return None


def _is_subscribe(address: str, readers: Readers) -> bool:
    return address.rpartition("@")[0].casefold() == SUBSCRIBE and readers.addresses.ours(address)


def _from_links(links: Sequence[str], readers: Readers) -> SignedAddress | None:
    for link in links:
        try:
            url = urlsplit(link)
        except ValueError:
            continue
        if url.scheme == "mailto":
            found = _signed([unquote(url.path)], readers)
            if found is not None:
                return found
        elif url.scheme in ("https", "http"):
            try:
                reader_id = readers.links.read(Purpose.UNSUBSCRIBE, url.path.rpartition("/")[2])
            except TokenError:
                continue
            return SignedAddress(AddressPurpose.UNSUBSCRIBE, reader_id)
    return None
