"""Mails as servers of many makes send them, and what becomes of the reader. All invented; see mails/README.md."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import (
    ConsentEvent,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Reader,
    ReaderState,
    ReturnEvent,
    SuppressionReason,
)
from service.returns.take import Outcome, TakenMail, TooMany, take_mail
from service.settings import Settings
from service.subscribers import accounts, interests, returned
from service.subscribers.topics import catalogue
from tests.returns.conftest import MAILS, MailedReader

HARD = SuppressionReason.HARD_BOUNCE

EXPECTED: dict[str, tuple[str | None, str]] = {
    "postfix-unknown-user": ("hard bounce", "5.1.1"),
    "postfix-queue-expired": ("soft bounce", "4.4.1"),
    "postfix-delayed": (None, ""),
    "exchange-unknown-user": ("hard bounce", "5.1.10"),
    "exchange-policy": ("refusal", "5.7.1"),
    "gmail-unknown-user": ("hard bounce", "5.1.1"),
    "gmail-over-quota": ("soft bounce", "5.2.2"),
    "sendmail-unknown-host": ("hard bounce", "5.1.2"),
    "exim-dsn-code-in-diagnostic": ("hard bounce", "5.1.1"),
    "exim-plain": ("hard bounce", "5.1.1"),
    "qmail": ("hard bounce", "5.1.1"),
    "qmail-no-code": ("soft bounce", "5.0.0"),
    "arf-whole": ("complaint", ""),
    "arf-blacked-out": ("complaint", ""),
    "arf-message-id-only": ("complaint", ""),
    "arf-not-spam": (None, ""),
    "vacation": (None, ""),
    "read-receipt": (None, ""),
}


def take(
    mailed: MailedReader, content: bytes, *recipients: str, sender: str = "", source: str = "inbound"
) -> TakenMail:
    return take_mail(mailed.database, mailed.settings, content, source=source, recipients=recipients, sender=sender)


def test_every_fixture_is_expected() -> None:
    assert {path.stem for path in MAILS.glob("*.eml")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("door", ["envelope", "mailbox"])
def test_each_shape_leads_to_the_right_event_and_state(mailed: MailedReader, name: str, door: str) -> None:
    recipient = "complaints@returns.papers.example" if name.startswith("arf") else mailed.return_address
    recipients = [recipient] if door == "envelope" else []
    for _ in range(2):  # a repeat changes nothing
        take(mailed, mailed.mail(name), *recipients)
    with mailed.database.transaction() as session:
        events = returned.of(session, mailed.id)
    kind, code = EXPECTED[name]
    assert [(event.kind, event.code) for event in events] == ([(kind, code)] if kind else [])
    assert all(event.delivery_id == mailed.delivery_id for event in events)
    assert all("@" not in event.diagnostic for event in events)
    after = {
        "hard bounce": (ReaderState.PENDING, HARD),
        "complaint": (ReaderState.UNSUBSCRIBED, SuppressionReason.COMPLAINT),
    }
    assert (mailed.state, mailed.suppressed) == after.get(kind or "", (ReaderState.ACTIVE, None))


@pytest.mark.parametrize("name", ["postfix-unknown-user", "exim-plain", "qmail", "gmail-unknown-user"])
def test_without_a_signed_address_the_message_id_proves_it(mailed: MailedReader, name: str) -> None:
    content = mailed.mail(name).replace(mailed.return_address.encode(), b"digest@papers.example")
    forged = content.replace(mailed.message_id.encode(), b"0123456789@papers.example")
    assert take(mailed, forged).outcome is Outcome.IGNORED
    assert mailed.suppressed is None
    assert take(mailed, content).outcome is Outcome.TAKEN
    assert mailed.suppressed is HARD


def test_one_mail_by_two_doors_at_the_same_moment_counts_once(mailed: MailedReader) -> None:
    content = mailed.mail("gmail-over-quota")

    def through(door: str) -> TakenMail:
        return take(mailed, content, mailed.return_address, source=door)

    with ThreadPoolExecutor(4) as hands:
        taken = list(hands.map(through, ["inbound", "imap"] * 4))
    assert {each.outcome for each in taken} == {Outcome.TAKEN}
    assert sorted(each.why for each in taken) == ["known"] * 7 + ["recorded"]


def test_a_forged_return_address_is_worth_nothing(mailed: MailedReader) -> None:
    address = mailed.return_address
    forged = address.replace(address[3], "a" if address[3] != "a" else "b", 1)
    content = mailed.mail("postfix-unknown-user").replace(mailed.message_id.encode(), b"0123@papers.example")
    take(mailed, content.replace(address.encode(), forged.encode()), forged)
    assert mailed.suppressed is None


def test_a_bounce_of_one_reader_cannot_be_turned_against_another(mailed: MailedReader) -> None:
    """The envelope decides, whoever the report speaks of."""
    content = mailed.mail("postfix-unknown-user").replace(b"ada@example.org", b"eve@example.org")
    take(mailed, content, mailed.return_address)
    assert mailed.suppressed is HARD


@pytest.mark.parametrize("auto", [b"", b"Auto-Submitted: auto-generated\r\n"])
@pytest.mark.parametrize("sender", ["ada@example.org", ""])
def test_a_mail_to_the_signed_address_unsubscribes_whatever_it_says(
    mailed: MailedReader, auto: bytes, sender: str
) -> None:
    content = b"From: somebody@else.example\r\n" + auto + b"Subject: \r\n\r\n"
    taken = take(mailed, content, mailed.unsubscribe_address.upper(), sender=sender)
    assert taken.outcome is Outcome.TAKEN
    assert mailed.state is ReaderState.UNSUBSCRIBED
    assert mailed.suppressed is None
    with mailed.database.transaction() as session:
        last = session.scalars(select(ConsentEvent).order_by(ConsentEvent.id.desc())).first()
        assert last is not None
        assert (last.kind, last.origin) == ("unsubscribed", "mail")


# ---- sign-ups by mail ------------------------------------------------------------------------------------------------


def signup(subject: str, *, sender: str = "bob@example.org", more: str = "", number: int = 1) -> bytes:
    head = f"From: Bob <{sender}>\r\nSubject: {subject}\r\nMessage-ID: <{number}@mail.example.org>\r\n{more}"
    return f"{head}\r\nPlease.\r\n".encode()


SUBSCRIBE = "Subscribe@returns.papers.example"


def reader_of(database: Database, email: str) -> accounts.ReaderView | None:
    with database.transaction() as session:
        return accounts.find(session, email)


def test_a_mail_to_subscribe_is_a_sign_up_to_be_confirmed(mailed: MailedReader) -> None:
    catalogue.sync(mailed.database)
    content = signup("Re: Robotics, arxiv:cs.CL nonsense reinforcement-learning")
    for _ in range(2):
        assert take(mailed, content, SUBSCRIBE, sender="bob@example.org").outcome is Outcome.TAKEN
    reader = reader_of(mailed.database, "bob@example.org")
    assert reader is not None
    assert reader.state is ReaderState.PENDING
    with mailed.database.transaction() as session:
        followed = {each.topic_slug for each in interests.of(session, reader.id)}
        waiting = session.scalars(select(Delivery.kind).where(Delivery.reader_id == reader.id)).all()
        consents = session.scalars(select(ConsentEvent).where(ConsentEvent.reader_id == reader.id)).all()
    assert {"arxiv:cs.CL", "reinforcement-learning"} <= followed
    assert waiting == [DeliveryKind.CONFIRM]
    assert [(each.kind, each.origin) for each in consents] == [("requested", "mail to the subscribe address")]


def test_topics_that_nobody_knows_become_the_default_one(mailed: MailedReader) -> None:
    catalogue.sync(mailed.database)
    take(mailed, signup("=?utf-8?q?bl=C3=BCmchen?="), SUBSCRIBE, sender="bob@example.org")
    reader = reader_of(mailed.database, "bob@example.org")
    assert reader is not None
    with mailed.database.transaction() as session:
        assert [each.topic_slug for each in interests.of(session, reader.id)] == ["daily-papers"]


@pytest.mark.parametrize(
    "more",
    [
        "Auto-Submitted: auto-replied\r\n",
        "Precedence: bulk\r\n",
        "X-Auto-Response-Suppress: OOF\r\n",
        "List-Id: <x.example>\r\n",
        "From: second@example.org\r\nX-Autoreply: yes\r\n",
    ],
)
def test_automatic_mail_signs_nobody_up(mailed: MailedReader, more: str) -> None:
    assert take(mailed, signup("", more=more), SUBSCRIBE, sender="bob@example.org").outcome is Outcome.IGNORED
    assert take(mailed, signup(""), SUBSCRIBE, sender="").outcome is Outcome.IGNORED
    assert reader_of(mailed.database, "bob@example.org") is None


@pytest.mark.parametrize("author", ["", "a@example.org, b@example.org", "undisclosed:;", "x@localhost.invalid"])
def test_a_sign_up_from_nobody_in_particular_is_none(mailed: MailedReader, author: str) -> None:
    content = f"From: {author}\r\nSubject: robotics\r\n\r\n".encode()
    assert take(mailed, content, SUBSCRIBE, sender="b@example.org").outcome is Outcome.IGNORED


def test_sign_ups_by_mail_are_limited_in_all_and_for_each_address(mailed: MailedReader, receiving: Settings) -> None:
    catalogue.sync(mailed.database)
    few = receiving.model_copy(update={"subscribe_mails_per_hour": 3})

    def sign_up(number: int, email: str) -> TakenMail:
        content = signup("", sender=email, number=number)
        return take_mail(mailed.database, few, content, source="inbound", recipients=[SUBSCRIBE], sender=email)

    for number in range(3):
        sign_up(number, "bob@example.org")
    with pytest.raises(TooMany):
        sign_up(3, "eve@example.org")
    with mailed.database.transaction() as session:
        confirmations = select(func.count()).where(Delivery.kind == DeliveryKind.CONFIRM)
        assert session.scalars(confirmations).one() == 1
        assert session.scalars(select(func.count()).select_from(ReturnEvent)).one() == 3
        assert session.scalars(select(func.count()).select_from(Reader)).one() == 2


def test_a_suppressed_address_that_signs_up_gets_nothing(mailed: MailedReader) -> None:
    catalogue.sync(mailed.database)
    take(mailed, mailed.mail("arf-whole"), "complaints@returns.papers.example")
    assert take(mailed, signup("", sender=mailed.email), SUBSCRIBE, sender=mailed.email).outcome is Outcome.TAKEN
    with mailed.database.transaction() as session:
        queued = select(Delivery.id).where(Delivery.state == DeliveryState.QUEUED)
        assert session.scalars(queued).all() == []


def test_what_nobody_understands_is_left_to_a_person(mailed: MailedReader) -> None:
    content = b"From: bob@example.org\r\nSubject: Hello\r\n\r\nDo you read this?\r\n"
    taken = take(mailed, content, "postmaster@returns.papers.example", sender="bob@example.org")
    assert taken.outcome is Outcome.UNKNOWN
