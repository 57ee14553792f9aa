"""The first factor: a mailed link, short-lived, that works once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database.tables import DeliveryKind, Operator
from service.operators import audit
from service.operators.accounts import OperatorError
from service.operators.audit import Act
from service.outbox import letters
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import addresses
from service.subscribers.sign_in import spend, spent
from service.subscribers.tokens import Links, Purpose, TokenError

PAUSE: Final = timedelta(minutes=2)
"""Between two mails with a link to one operator, whoever asks."""
PATIENCE: Final = timedelta(hours=1)
"""A mail with a link that the relay will not take for so long is given up."""


def request(session: Session, settings: Settings, email: str, *, now: datetime | None = None) -> bool:
    """Mail an operator the link; whether one was queued. Whoever asks is told the same. Raises AddressError."""
    moment = now or datetime.now(UTC)
    address = addresses.parse(email)
    # Held until the end of the transaction, so that two requests at once are one mail.
    operator = session.scalar(select(Operator).where(Operator.address_key == address.key).with_for_update())
    if operator is None or (operator.link_sent_at is not None and operator.link_sent_at > moment - PAUSE):
        return False
    letter = LetterView(operator.email, operator.address_key, "en", False, {"operator": operator.id})
    letters.enqueue(
        session,
        kind=DeliveryKind.OPERATOR_LINK,
        reader_id=letters.NO_READER,
        mail_domain=settings.mail_domain,
        letter=letter,
        now=moment,
        patience=PATIENCE,
    )
    operator.link_sent_at = moment
    session.flush()
    return True


def printed(session: Session, settings: Settings, operator_id: int) -> str:
    """The link itself, for a command on the machine: where mail does not go, its operators must get in all the same."""
    audit.record(session, None, Act.LINK_PRINTED, f"operator {operator_id}")
    return Links(settings).operator(operator_id)


def use(session: Session, settings: Settings, token: str) -> int:
    """Spend a link; return the operator it names. It opens no session by itself: the second factor follows.

    Raises TokenError for a link that does not count or worked before; :class:`OperatorError` for one who is gone.
    """
    links = Links(settings)
    operator_id = links.read(Purpose.OPERATOR, token)
    if not spend(session, spent(links, Purpose.OPERATOR, token)):
        raise TokenError("this link has worked once and does not work again: ask for a new one")
    if session.scalar(select(Operator.id).where(Operator.id == operator_id)) is None:
        raise OperatorError("this operator is gone: an owner can add you again")
    return operator_id
