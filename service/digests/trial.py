"""A digest to the operator's own address, to see it in a real inbox. Nothing is noted of the reader it was made for.

The mail is frozen as it was looked at, in a letter that housekeeping drops, with its delivery, when it is settled
(``outbox.letters``): of the reader's interests nothing stays.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from service.database.tables import DeliveryKind
from service.digests.dry_run import Shown
from service.outbox import letters
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import addresses, suppression

PREFIX: Final = "[Test] "


class TrialError(Exception):
    """A test mail that cannot be sent. One line: the thing and the remedy."""


def send(session: Session, settings: Settings, to: str, shown: Shown, *, now: datetime | None = None) -> int:
    """Queue what is shown for an operator; return the delivery. Raises AddressError, :class:`TrialError`."""
    address = addresses.parse(to)
    if suppression.contains(session, addresses.hashed(settings, address.key)):
        raise TrialError("your own address is suppressed: lift that first, with `paperround suppressions`")
    facts = {"subject": PREFIX + shown.mail.subject, "text": shown.mail.text, "html": shown.mail.html}
    return letters.enqueue(
        session,
        kind=DeliveryKind.TEST,
        reader_id=letters.NO_READER,
        mail_domain=settings.mail_domain,
        letter=LetterView(address.email, address.key, shown.language, shown.plain_text, facts),
        now=now or datetime.now(UTC),
    )
