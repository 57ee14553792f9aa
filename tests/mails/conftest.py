"""Every kind of mail in every language, composed once for all the judges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from lxml import html
from pydantic import SecretStr
from sqlalchemy import delete, text, update

from service.database import Database
from service.database.tables import Base, Cadence, DeliveryKind, Reader, ReaderState
from service.delivery import dkim
from service.delivery.dkim import Signer
from service.digests import plan
from service.mails.compose import Composed, Composer
from service.outbox import letters, rows
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import address_change
from service.subscribers.return_addresses import ReturnAddresses
from service.translation import LANGUAGES, Language
from tests import factories
from tests.journeys.conftest import chromium

__all__ = ["chromium"]

LISTED = {DeliveryKind.DIGEST, DeliveryKind.WELCOME, DeliveryKind.PAUSE_ENDED}
"""Part of the list: one click unsubscribes."""
SAME_AS_THE_DIGEST = {DeliveryKind.RESEND, DeliveryKind.TEST}
POSTAL = "1 Example Street, Exampletown"
LONG_WORD = "Pneumono" + "ultramicroscopicsilico" * 4
"""Longer than a line of a small phone."""


@dataclass(frozen=True)
class Made:
    """A mail as it goes out, signed."""

    kind: DeliveryKind
    language: Language
    content: bytes
    envelope_sender: str
    delivery_id: int
    weekly: bool = False

    @property
    def name(self) -> str:
        return f"{'weekly ' if self.weekly else ''}{self.kind}-{self.language.tag}"

    @property
    def mail(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)

    def part(self, kind: str) -> str:
        body = self.mail.get_body((kind,))
        assert body is not None, self.name
        return str(body.get_content())

    @property
    def page(self) -> str:
        return self.part("html")

    @property
    def text(self) -> str:
        return self.part("plain")

    @property
    def tree(self) -> html.HtmlElement:
        return html.fromstring(self.page)


@dataclass(frozen=True)
class Post:
    """All of them, and who signed."""

    mails: tuple[Made, ...]
    signer: Signer
    returns: ReturnAddresses

    def of(self, kind: DeliveryKind, tag: str = "en") -> Made:
        """The mail of a kind; of digests the daily one."""
        return next(each for each in self.mails if each.kind is kind and each.language.tag == tag and not each.weekly)


@pytest.fixture(scope="session")
def post(migrated_url: str, tmp_path_factory: pytest.TempPathFactory) -> Post:
    folder = tmp_path_factory.mktemp("post")
    settings = _settings(migrated_url, folder)
    signer = dkim.configured(settings)
    assert signer is not None
    with Database(migrated_url) as database:
        made = tuple(each for language in LANGUAGES for each in _all(database, settings, signer, language))
    assert {each.kind for each in made} == set(DeliveryKind) - SAME_AS_THE_DIGEST
    return Post(made, signer, ReturnAddresses(settings))


def _settings(url: str, folder: Path) -> Settings:
    key = folder / "rsa.pem"
    dkim.make_key(key)
    return Settings(
        home=folder,
        database_url=url,
        secret=SecretStr("a-secret-that-only-the-tests-know-0123456789"),
        site_url="https://papers.example",
        sender="Paperround <digest@papers.example>",
        smtp_url="smtp://127.0.0.1:9",
        postal_address=POSTAL,
        allow_private_sources=True,
        dkim_key_file=key,
        return_domain="returns.papers.example",
    )


def _all(database: Database, settings: Settings, signer: Signer, language: Language) -> Iterator[Made]:
    """One mail of each kind to a reader of this language."""
    try:
        reader = factories.reader(
            database, settings, "ada@example.org", topics=["robot-learning"], queries=['"learning robots"', "policies"]
        )
        with database.transaction() as session:
            session.execute(update(Reader).values(language=language.tag))
        factories.edition(
            database,
            factories.record("Learning Robots", tldr="They walk.", upvotes=5, comments=1, abstract="On policies. " * 60,
                             code_url="https://example.org/code", url="https://example.org/paper",
                             pdf_url="https://example.org/paper.pdf"),
            factories.record(f"Robots & Their Policies: {LONG_WORD}", authors=("Ada Invented", "Bo Invented"),
                             author_count=2),
            factories.record("Trout", upvotes=90),
        )  # fmt: skip
        plan.plan_due(database, settings, everyone=True)
        yield _sent(database, settings, signer, language, DeliveryKind.DIGEST)
        with database.transaction() as session:
            # Of three papers one is shown, so that the others are spoken of.
            session.execute(update(Reader).values(cadence=Cadence.WEEKLY, weekdays=1, paper_limit=1))
        factories.edition(database, *(factories.record(f"Policies of Robots, Part {part}") for part in range(3)))
        plan.plan_due(database, settings, everyone=True)
        yield replace(_sent(database, settings, signer, language, DeliveryKind.DIGEST), weekly=True)
        # A goodbye is written when its reader is gone, so it comes last.
        for kind in sorted(DeliveryKind, key=lambda kind: kind is DeliveryKind.GOODBYE):
            if kind is not DeliveryKind.DIGEST and kind not in SAME_AS_THE_DIGEST:
                _queue(database, settings, reader, kind, language)
                yield _sent(database, settings, signer, language, kind)
    finally:
        names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
        with database.connection() as connection:
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))


def _queue(database: Database, settings: Settings, reader: int, kind: DeliveryKind, language: Language) -> None:
    with database.transaction() as session:
        state = ReaderState.PENDING if kind is DeliveryKind.CONFIRM else ReaderState.ACTIVE
        session.execute(update(Reader).values(state=state))
        if kind is DeliveryKind.ADDRESS_CONFIRM:
            address_change.request(session, settings, reader, "new@example.org")
        elif kind in letters.KINDS:
            facts = {"interests": 1, "words": 0, "digests": 3, "deliveries": 12, "operator": 1}
            letter = LetterView("old@example.org", "old@example.org", language.tag, plain_text=False, facts=facts)
            addressee = letters.NO_READER if kind is DeliveryKind.OPERATOR_LINK else reader
            letters.enqueue(
                session, kind=kind, reader_id=addressee, mail_domain=settings.mail_domain, letter=letter,
                now=datetime.now(UTC),
            )  # fmt: skip
            if kind is DeliveryKind.GOODBYE:
                session.execute(delete(Reader))
        else:
            rows.enqueue(session, kind=kind, reader_id=reader, mail_domain=settings.mail_domain)


def _sent(database: Database, settings: Settings, signer: Signer, language: Language, kind: DeliveryKind) -> Made:
    claims = rows.claim(database, owner=f"test {kind}", limit=9, lease=timedelta(minutes=5))
    with database.transaction() as session:
        (composed,) = Composer(settings).compose(session, claims)
    assert isinstance(composed, Composed), composed
    return Made(kind, language, signer.signed(composed.content), composed.envelope_sender, composed.delivery_id)
