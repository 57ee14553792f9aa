"""What a mail reports: delivery status notifications, abuse reports, and the odd formats of old servers. Pure.

RFC 3464 (DSN) with the codes of RFC 3463, RFC 5965 (ARF), and by flufl.bounce whatever is neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from typing import Final

from flufl.bounce import all_failures

from service.database.tables import ReturnKind
from service.returns.mail import Mail, addresses_in, blocks_of, header, message_ids
from service.subscribers import status_codes

_SPOKEN: Final = re.compile(r"^[^;]{0,40};\s*")
_PASTED_ID: Final = re.compile(r"^message-id:\s*(<[^<>\s]{3,250}>)", re.IGNORECASE | re.MULTILINE)
MOST_RECIPIENTS: Final = 20
"""Failed recipients of one report that are looked at: our mails have one each."""


LARGEST_ODD: Final = 512 * 1024
"""Bytes of a mail given to flufl.bounce, whose expressions run over every line: old servers send back little."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One recipient that a mail did not reach."""

    kind: ReturnKind
    recipients: tuple[str, ...]
    """What the report calls the recipient: as we wrote it, and as it came to be called after forwarding."""
    code: str
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """Somebody called a mail spam."""

    recipients: tuple[str, ...]
    """Often blacked out."""
    return_path: str
    """The envelope sender of the mail complained about."""
    feedback_type: str


def failures(mail: Mail) -> list[Failure] | None:
    """The failed recipients of a DSN; empty where it reports delays or successes only; None for any other mail."""
    part = mail.first("message/delivery-status", "message/global-delivery-status")
    if part is None:
        return None
    found = []
    for block in blocks_of(part):
        failure = _failed(block)
        if failure is not None:
            found.append(failure)
    return found[:MOST_RECIPIENTS]


def complaint(mail: Mail) -> Complaint | None:
    """What an abuse report says; None for any other mail, and for reports that say "not spam" or are about nothing
    that a reader did."""
    part = mail.first("message/feedback-report")
    if part is None:
        return None
    blocks = blocks_of(part)
    if not blocks:
        return None
    fields = blocks[0]
    feedback_type = header(fields, "Feedback-Type").lower()
    if feedback_type in ("not-spam", "auth-failure"):
        return None
    recipients = tuple(_addresses(header(fields, "Original-Rcpt-To")) + _addresses(_enclosed(mail, "To")))
    return_path = header(fields, "Original-Mail-From") or _enclosed(mail, "Return-Path")
    return Complaint(recipients, return_path.strip("<> "), feedback_type or "abuse")


def odd_failures(mail: Mail) -> list[Failure]:
    """The failed recipients that flufl.bounce finds in a mail that is no DSN.

    It knows hundreds of words but tells no code. What is permanent to it and names no code is a soft bounce to us: a
    full mailbox is worded as finally as a missing one.
    """
    if mail.size > LARGEST_ODD:
        return []
    try:
        temporary, permanent = all_failures(mail.message)
    except Exception:  # noqa: BLE001 (forty detectors, each with regular expressions and surprises of its own)
        return []
    text = mail.text
    found = []
    for address in sorted(permanent | temporary)[:MOST_RECIPIENTS]:
        recipient = address.decode("utf-8", "replace")
        said = _near(text, recipient)
        code = status_codes.found_in(said) or ("5.0.0" if address in permanent else "4.0.0")
        kind = status_codes.kind_of(code)
        if kind is not None and address in permanent:
            found.append(Failure(kind, (recipient,), code, said))
        elif kind is not None:
            found.append(Failure(ReturnKind.SOFT_BOUNCE, (recipient,), code, said))
    return found


def original_message_id(mail: Mail) -> str | None:
    """Message-ID of the mail that came back; old servers put its headers into their text."""
    found = message_ids(_enclosed(mail, "Message-ID"))
    if not found and (pasted := _PASTED_ID.search(mail.text)) is not None:
        found = message_ids(pasted[1])
    return found[0] if found else None


def unsubscribe_links(mail: Mail) -> list[str]:
    """The URIs in the List-Unsubscribe of the mail that came back."""
    return re.findall(r"<([^<>\s]{1,500})>", _enclosed(mail, "List-Unsubscribe"))


def automatic(mail: Mail, envelope_sender: str | None) -> bool:
    """Whether no person wrote this mail for us: RFC 3834 and what servers did before it. Nothing is ever answered."""
    if envelope_sender == "":
        return True
    answered = mail.header("Auto-Submitted").partition(";")[0].strip().lower()
    if answered not in ("", "no"):
        return True
    if mail.header("Precedence").lower() in ("bulk", "junk", "list", "auto_reply"):
        return True
    suppressed = mail.header("X-Auto-Response-Suppress").lower()
    if suppressed and suppressed != "none":
        return True
    return any(mail.header(name) for name in ("List-Id", "X-Autoreply", "X-Autorespond", "X-Loop", "Auto-Response"))


def _failed(block: Message) -> Failure | None:
    recipients = tuple(
        address
        for name in ("Original-Recipient", "Final-Recipient", "X-Actual-Recipient")
        for address in _addresses(_SPOKEN.sub("", header(block, name)))
    )
    if not recipients and not header(block, "Action"):
        return None
    # "delayed" is only a warning: the relay goes on trying. "relayed", "expanded" and "delivered" are no failures.
    if header(block, "Action").lower() != "failed":
        return None
    diagnostic = _SPOKEN.sub("", header(block, "Diagnostic-Code"))
    code = status_codes.most_telling(header(block, "Status"), diagnostic) or "5.0.0"
    kind = status_codes.kind_of(code)
    return Failure(kind, tuple(dict.fromkeys(recipients)), code, diagnostic) if kind is not None else None


def _enclosed(mail: Mail, name: str) -> str:
    enclosed = mail.enclosed()
    return header(enclosed, name) if enclosed is not None else ""


def _addresses(value: str) -> list[str]:
    return [address for _, address in addresses_in(value) if "@" in address]


def _near(text: str, address: str) -> str:
    """What the text says right after it names the address."""
    at = text.lower().find(address.lower())
    return " ".join(text[at : at + 600].split()) if at >= 0 else ""
