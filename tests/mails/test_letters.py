"""Every mail about the subscription itself: whole in both parts, and only to who may have it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from lxml import html
from sqlalchemy import delete, select, update

from service.database import Database
from service.database.tables import AddressChange, Delivery, DeliveryKind, Reader, ReaderState
from service.delivery.recheck import recheck
from service.mails.compose import Composed, Composer, Withheld
from service.outbox import letters, rows
from service.outbox.letters import LetterView
from service.settings import Settings
from service.subscribers import address_change
from service.subscribers.tokens import Links
from tests import factories

ABOUT = [kind for kind in DeliveryKind if kind not in (DeliveryKind.DIGEST, DeliveryKind.RESEND, DeliveryKind.TEST)]
COUNTS = {"interests": 1, "words": 0, "digests": 3, "deliveries": 12, "operator": 1}
WAITS = {
    DeliveryKind.CONFIRM: {ReaderState.PENDING},
    DeliveryKind.WELCOME: {ReaderState.ACTIVE},
    DeliveryKind.PAUSE_ENDED: {ReaderState.ACTIVE},
    DeliveryKind.ADDRESS_CONFIRM: {ReaderState.ACTIVE},
    DeliveryKind.SIGN_IN: set(ReaderState),
    DeliveryKind.ADDRESS_NOTICE: set(ReaderState),
}
"""Who may get what, by the reader's state; a goodbye has no reader any more, an operator's link never had one."""


def queued(database: Database, settings: Settings, kind: DeliveryKind, *, plain: bool = False) -> int:
    """A reader to whom one mail of this kind waits."""
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    with database.transaction() as session:
        state = ReaderState.PENDING if kind is DeliveryKind.CONFIRM else ReaderState.ACTIVE
        session.execute(update(Reader).values(state=state, plain_text=plain))
        if kind is DeliveryKind.ADDRESS_CONFIRM:
            address_change.request(session, settings, reader, "new@example.org")
        elif kind in letters.KINDS:
            letter = LetterView("old@example.org", "old@example.org", "en", plain, COUNTS)
            letters.enqueue(
                session,
                kind=kind,
                reader_id=letters.NO_READER if kind is DeliveryKind.OPERATOR_LINK else reader,
                mail_domain=settings.mail_domain,
                letter=letter,
                now=datetime.now(UTC),
            )
        else:
            rows.enqueue(session, kind=kind, reader_id=reader, mail_domain=settings.mail_domain)
        if kind is DeliveryKind.GOODBYE:
            session.execute(delete(Reader))
    return reader


def composed(database: Database, settings: Settings) -> Composed | Withheld:
    claims = rows.claim(database, owner="sender", limit=9, lease=timedelta(minutes=5))
    with database.transaction() as session:
        (made,) = Composer(settings).compose(session, claims)
    return made


def parsed(made: Composed | Withheld) -> EmailMessage:
    assert isinstance(made, Composed), made
    mail = message_from_bytes(made.content, policy=policy.default)
    assert all(part.defects == [] for part in mail.walk())
    return mail


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


@pytest.mark.parametrize("kind", ABOUT)
def test_every_mail_is_whole_in_both_parts(database: Database, settings: Settings, kind: DeliveryKind) -> None:
    queued(database, settings, kind)
    mail = parsed(composed(database, settings))
    assert mail["Auto-Submitted"] == "auto-generated"
    page, text = part(mail, "html"), part(mail, "plain")
    tree = html.fromstring(page)
    for url in tree.xpath("//a/@href"):
        assert url in text, "each link of the page is in the text"
    said = " ".join(text.split())
    assert tree.xpath("string(//h1)") in said
    for paragraph in tree.xpath("//p[not(a)]"):
        for word in re.findall(r"[a-z]{4,}", paragraph.text_content().replace("button", "link")):
            assert word in said, (kind, word)
    preheader = tree.xpath("string(//div[contains(@style, 'display:none')])").strip()
    assert 40 <= len(preheader) <= 130
    for body in (page, text, str(mail["Subject"])):
        assert not re.search(r"\{\{|\{%|jnj\d{4}x|[\x02\x03]", body)
    assert settings.postal_address in text
    assert max(map(len, re.sub(r"https?://\S+", "", text).splitlines())) <= 78


@pytest.mark.parametrize("kind", ABOUT)
def test_who_wants_plain_text_gets_one_part(database: Database, settings: Settings, kind: DeliveryKind) -> None:
    queued(database, settings, kind, plain=True)
    assert parsed(composed(database, settings)).get_content_type() == "text/plain"


@pytest.mark.parametrize("kind", ABOUT)
@pytest.mark.parametrize("state", [*ReaderState, None], ids=str)
def test_composing_and_the_last_look_agree_on_who_may_have_it(
    database: Database, settings: Settings, kind: DeliveryKind, state: ReaderState | None
) -> None:
    queued(database, settings, kind)
    with database.transaction() as session:
        if state is None:
            session.execute(delete(Reader))
        else:
            session.execute(update(Reader).values(state=state))
        (delivery,) = session.scalars(select(Delivery.id))
    # A goodbye is written when its reader is gone; no other mail to a reader survives that.
    allowed = kind in letters.READERLESS or (state is not None and state in WAITS[kind])
    assert isinstance(composed(database, settings), Composed) is allowed
    with database.transaction() as session:
        assert (recheck(session, settings, "sender", [delivery]).entitled == {delivery}) is allowed


def test_the_mail_to_a_wished_address_names_the_change_and_not_the_reader(
    database: Database, settings: Settings
) -> None:
    queued(database, settings, DeliveryKind.ADDRESS_CONFIRM)
    mail = parsed(composed(database, settings))
    with database.transaction() as session:
        change = session.scalars(select(AddressChange.id)).one()
    assert Links(settings).address(change).rpartition("/")[0] in part(mail, "plain")
    assert "ada@example.org" not in mail.as_string()
    assert mail["To"] == "new@example.org"
    assert mail["List-Unsubscribe"] is None
