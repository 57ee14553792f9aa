"""A digest looked at, tried on the operator's own address, and sent to its reader once more."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from sqlalchemy import func, select, text, update

from service.database import Database
from service.database.tables import (
    Base,
    CarriedOver,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Digest,
    Letter,
    Reader,
    ReaderState,
)
from service.delivery.recheck import recheck
from service.digests import plan, resend, trial
from service.digests.dry_run import DryRun, NothingToShow
from service.digests.resend import ResendError
from service.mails.compose import Composed, Composer, Withheld
from service.outbox import letters, rows
from service.outbox.claims import Claim, Outcome
from service.settings import Settings
from service.subscribers import returned
from service.subscribers.interests import UnknownTopic
from service.subscribers.tokens import Links
from service.subscribers.topics import catalogue
from tests import factories


def send(
    database: Database, settings: Settings, state: DeliveryState = DeliveryState.SENT
) -> list[Composed | Withheld]:
    """Everything that is due, with this outcome."""
    claims = rows.claim(database, owner="test", limit=100, lease=timedelta(minutes=5))
    with database.transaction() as session:
        made = Composer(settings).compose(session, claims)
    outcomes = [
        Outcome(each.delivery_id, state, "said so", carried_over=state is DeliveryState.FAILED) for each in made
    ]
    rows.settle(database, "test", outcomes)
    return made


def mail(made: Composed | Withheld) -> EmailMessage:
    assert isinstance(made, Composed), made
    return message_from_bytes(made.content, policy=policy.default)


def content(database: Database) -> dict[str, int]:
    """How many rows each table holds, and the last change of papers."""
    with database.transaction() as session:
        return {
            table.name: session.scalars(select(func.count()).select_from(table)).one()
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def digest(database: Database, settings: Settings) -> int:
    """Of the only reader, sent."""
    factories.reader(database, settings, "ada@example.org", topics=["robot-learning"], queries=['"walking robots"'])
    factories.edition(database, factories.record("Walking Robots Learning"), factories.record("Trout"))
    plan.plan_due(database, settings, everyone=True)
    send(database, settings)
    with database.transaction() as session:
        return session.scalars(select(Digest.id)).one()


def test_a_resend_is_the_same_digest_under_its_own_message_id_and_carries_nothing_over(
    database: Database, settings: Settings, digest: int
) -> None:
    with database.transaction() as session:
        resend.resend(session, settings, digest)
    with pytest.raises(ResendError, match="still queued: wait"), database.transaction() as session:
        resend.resend(session, settings, digest)
    (made,) = send(database, settings, DeliveryState.FAILED)
    again = mail(made)
    assert "Walking Robots" in str(again.get_body(("plain",)))
    assert "unsubscribe" in again["List-Unsubscribe"]
    with database.transaction() as session:
        first, second = session.scalars(select(Delivery).order_by(Delivery.id))
        assert again["Message-ID"] == f"<{second.message_id}>" != f"<{first.message_id}>"
        assert (first.state, first.kind, second.digest_id) == ("sent", "digest", first.digest_id)
        assert session.scalars(select(CarriedOver)).all() == []
    with pytest.raises(ResendError, match="wait ten minutes"), database.transaction() as session:
        resend.resend(session, settings, digest)
    later = datetime.now(UTC) + timedelta(minutes=11)
    with database.transaction() as session:
        resend.resend(session, settings, digest, now=later)
        late = later + timedelta(days=2)
    assert rows.sweep(database, now=late).late == 1
    with database.transaction() as session:
        assert session.scalars(select(CarriedOver)).all() == []


@pytest.mark.parametrize("why", ["suppressed", "unsubscribed", "paused"])
def test_nothing_is_sent_again_to_who_must_not_be_mailed_whenever_that_came_about(
    database: Database, settings: Settings, digest: int, why: str
) -> None:
    with database.transaction() as session:
        delivery = resend.resend(session, settings, digest)
    with database.transaction() as session:
        if why == "suppressed":
            returned.suppress(session, settings, "ada@example.org", "asked by phone")
            session.execute(update(Reader).values(state=ReaderState.ACTIVE, next_digest_at=datetime.now(UTC)))
        elif why == "unsubscribed":
            session.execute(update(Reader).values(state=ReaderState.UNSUBSCRIBED))
        else:
            session.execute(update(Reader).values(paused_until=datetime.now(UTC) + timedelta(days=3)))
        session.execute(update(Delivery).where(Delivery.id == delivery).values(state=DeliveryState.QUEUED))
    claims = rows.claim(database, owner="test", limit=9, lease=timedelta(minutes=5))
    with database.transaction() as session:
        (made,) = Composer(settings).compose(session, claims)
        assert isinstance(made, Withheld)
        assert recheck(session, settings, "test", [delivery]).cancelled
    rows.settle(database, "test", [Outcome(delivery, DeliveryState.CANCELLED, made.reason)])
    with pytest.raises(ResendError, match=why), database.transaction() as session:
        resend.resend(session, settings, digest)


def test_a_look_is_what_would_be_sent_writes_nothing_and_its_links_open_nothing(
    database: Database, settings: Settings, digest: int
) -> None:
    with database.transaction() as session:
        reader = session.scalars(select(Reader.id)).one()
        session.execute(text("DELETE FROM match"))
    factories.edition(database, factories.record("More Walking Robots"))
    with database.transaction() as session:
        session.execute(text("DELETE FROM match"))
    before = content(database)
    look = DryRun(database, settings)
    shown = look.now(reader)
    assert "More Walking Robots" in shown.mail.html
    assert (
        "Because you follow “walking robots”" in " ".join(shown.mail.text.split())
        or "walking robots" in shown.mail.text
    )
    assert shown.digest_id is None
    assert content(database) == before
    links = Links(settings)
    for path in ("preferences", "unsubscribe", "feedback"):
        assert f"https://papers.example/{path}/preview" in shown.mail.html
        assert getattr(links, path)(reader).rpartition("/")[0] in shown.mail.html
    stored = DryRun(database, settings).of_day(reader, datetime.now(UTC).date())
    assert (stored.digest_id, "Walking Robots Learning" in stored.mail.text) == (digest, True)
    with pytest.raises(NothingToShow, match="got no digest on 2020-01-02"):
        look.of_day(reader, date(2020, 1, 2))
    # What the planner then makes is what was shown.
    plan.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        planned = session.scalars(select(Digest).order_by(Digest.id.desc()).limit(1)).one()
    assert DryRun(database, settings).stored(planned.id).mail.html.count("<h2") == shown.mail.html.count("<h2")


def test_an_edition_can_be_looked_at_with_made_up_topics(database: Database, settings: Settings) -> None:
    catalogue.sync(database)
    first = factories.edition(database, factories.record("Learning Robots Walk", categories=("cs.RO",))).id
    factories.edition(database, factories.record("A Survey of Trout"))
    look = DryRun(database, settings)
    shown = look.of_topics(["arxiv:cs.RO"], edition_id=first)
    assert "Learning Robots Walk" in shown.mail.text
    assert "Because you follow Robotics" in shown.mail.text
    assert "A Survey of Trout" in look.of_topics(["surveys", "arxiv:cs.RO"]).mail.text
    with pytest.raises(NothingToShow, match="nothing of edition"):
        look.of_topics(["arxiv:cs.RO"])
    with pytest.raises(UnknownTopic, match="no topic “nonsense”"):
        look.of_topics(["surveys", "nonsense"])
    with pytest.raises(NothingToShow, match="there is no edition 99"):
        look.of_topics(["surveys"], edition_id=99)
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Reader)).one() == 0


def test_a_test_mail_goes_to_the_operator_alone_and_leaves_no_trace(
    database: Database, settings: Settings, digest: int
) -> None:
    shown = DryRun(database, settings).stored(digest)
    with database.transaction() as session:
        before = (
            session.execute(text("SELECT * FROM reader")).all(),
            session.execute(text("SELECT * FROM digest")).all(),
        )
        delivery = trial.send(session, settings, "operator@example.org", shown)
        assert recheck(session, settings, "test", [delivery]).entitled == frozenset()
    claims: list[Claim] = rows.claim(database, owner="test", limit=9, lease=timedelta(minutes=5))
    with database.transaction() as session:
        (made,) = Composer(settings).compose(session, claims)
        assert recheck(session, settings, "test", [delivery]).entitled == {delivery}
    seen = mail(made)
    assert seen["To"] == "operator@example.org"
    assert str(seen["Subject"]) == f"[Test] {shown.mail.subject}"
    assert seen["List-Unsubscribe"] is None
    page = seen.get_body(("html",))
    assert page is not None
    assert "/unsubscribe/preview" in page.get_content()
    assert "ada@example.org" not in seen.as_string()
    rows.settle(database, "test", [Outcome(delivery, DeliveryState.SENT, "250 ok")])
    letters.prune(database)
    with database.transaction() as session:
        assert session.scalars(select(Letter)).all() == []
        assert session.scalars(select(Delivery.kind)).all() == [DeliveryKind.DIGEST]
        after = session.execute(text("SELECT * FROM reader")).all(), session.execute(text("SELECT * FROM digest")).all()
    assert after == before
