from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState, ReaderState, SuppressionReason
from service.outbox import rows
from service.settings import Settings
from service.subscribers import accounts, addresses, suppression
from service.subscribers.return_addresses import ReturnAddresses
from service.subscribers.tokens import Links
from tests import factories

MAILS = Path(__file__).parent / "mails"
ADA = "ada@example.org"


@dataclass(frozen=True)
class MailedReader:
    """A reader to whom a digest went out, and what was in it."""

    database: Database
    settings: Settings
    id: int
    delivery_id: int
    message_id: str
    email: str = ADA

    @property
    def return_address(self) -> str:
        return ReturnAddresses(self.settings).bounce(self.delivery_id)

    @property
    def unsubscribe_address(self) -> str:
        address = ReturnAddresses(self.settings).unsubscribe(self.id)
        assert address is not None
        return address

    def mail(self, name: str) -> bytes:
        """A fixture filled in for this reader, with the line ends of the wire."""
        text = (MAILS / f"{name}.eml").read_text()
        for hole, value in {
            "RETURN": self.return_address,
            "RECIPIENT": self.email,
            "MESSAGE_ID": self.message_id,
            "UNSUBSCRIBE": Links(self.settings).unsubscribe(self.id),
        }.items():
            text = text.replace(f"@@{hole}@@", value)
        assert "@@" not in text
        return text.replace("\n", "\r\n").encode()

    @property
    def state(self) -> ReaderState:
        with self.database.transaction() as session:
            found = accounts.get(session, self.id)
        assert found is not None
        return found.state

    @property
    def suppressed(self) -> SuppressionReason | None:
        with self.database.transaction() as session:
            found = suppression.find(session, addresses.hashed(self.settings, self.email))
        return found.reason if found else None


@pytest.fixture
def receiving(settings: Settings) -> Settings:
    """Settings of a site whose returns come in."""
    return settings.model_copy(update={"return_domain": "returns.papers.example"})


@pytest.fixture
def mailed(database: Database, receiving: Settings) -> MailedReader:
    now = datetime.now(UTC) - timedelta(days=30)
    reader = factories.reader(database, receiving, ADA, queries=["robots"], now=now)
    with database.transaction() as session:
        delivery_id = rows.enqueue(session, kind=DeliveryKind.DIGEST, reader_id=reader, mail_domain="papers.example")
        row = session.get(Delivery, delivery_id)
        assert row is not None
        row.state = DeliveryState.SENT
        message_id = row.message_id
    return MailedReader(database, receiving, reader, delivery_id, message_id)
