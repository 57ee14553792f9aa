"""Readers found, and one reader's whole story."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from service.database import Database
from service.database.tables import DeliveryKind, DeliveryState, ReaderState, ReturnKind
from service.digests import notes, plan
from service.outbox import rows
from service.outbox.claims import Outcome
from service.overview import finding, story
from service.settings import Settings
from service.subscribers import accounts, feedback, returned, sign_in
from service.subscribers.consent import ConsentKind, Visit
from service.subscribers.returned import Return
from tests import factories


def test_readers_are_found_by_id_and_by_the_beginning_of_their_address_a_page_at_a_time(
    database: Database, settings: Settings
) -> None:
    names = ["Ada@example.org", "a_a@example.org", "ada.b@example.org", "bob@example.org", "2ab@example.org"]
    ada, underscore, other, bob, digits = (
        factories.reader(database, settings, name, queries=["robots"]) for name in names
    )
    with database.transaction() as session:
        accounts.unsubscribe(session, settings, other, Visit("test"))

        def found(asked: str, **more: object) -> list[int]:
            page = finding.find(session, asked, **more)  # type: ignore[arg-type]  # the function's own
            return [each.id for each in page.readers]

        assert found("ADA@example.org ") == [ada]
        assert found("ada") == [ada, other]
        assert found("a_") == [underscore]
        assert found("%") == []
        assert found(str(bob)) == [bob]
        assert found("2") == [underscore, digits]
        assert found("9" * 30) == []
        assert found("ada", state=ReaderState.UNSUBSCRIBED) == [other]
        first = finding.find(session, limit=3)
        assert [each.id for each in first.readers] == [ada, underscore, other]
        assert first.after is not None
        last = finding.find(session, limit=3, after=first.after)
        assert ([each.id for each in last.readers], last.after) == ([bob, digits], None)
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan_of = session.execute(text("EXPLAIN SELECT id FROM reader WHERE address_key LIKE 'ada%'")).scalars().all()
        assert any("ix_reader_beginning" in line for line in plan_of)


def test_a_story_tells_all_that_happened(database: Database, settings: Settings) -> None:
    now = datetime.now(UTC)
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    factories.reader(database, settings, "bob@example.org", queries=["robots"])
    with database.transaction() as session:
        notes.save(session, "A note.")
    factories.edition(database, factories.record("Walking Robots"))
    plan.plan_due(database, settings, everyone=True)
    claims = rows.claim(database, owner="test", limit=9, lease=timedelta(minutes=5))
    rows.settle(
        database,
        "test",
        [Outcome(each.delivery_id, DeliveryState.DEFERRED, "451 4.7.1 later", retry_at=now) for each in claims],
    )
    with database.transaction() as session:
        (paper,) = session.execute(text("SELECT id FROM paper")).scalars()
        feedback.give(session, reader, paper, liked=True)
        sign_in.request(session, settings, reader)
        returned.take(session, settings, Return(ReturnKind.HARD_BOUNCE, "smtp", "1", reader_id=reader, code="5.1.1"))
    with database.transaction() as session:
        told = story.of(session, settings, reader)
        assert story.of(session, settings, 99) is None
        assert told is not None
        assert (told.reader.email, told.reader.state) == ("ada@example.org", ReaderState.PENDING)
        assert [each.kind for each in told.consent] == [ConsentKind.ENTERED]
        assert [each.canonical for each in told.interests] == ["robot"]
        (digest,) = told.digests
        assert [each.title for each in digest.papers] == ["Walking Robots"]
        assert digest.note == "A note."
        (delivery,) = digest.deliveries
        assert (delivery.state, delivery.attempts) == (DeliveryState.CANCELLED, 1)
        assert [each.kind for each in told.deliveries] == [DeliveryKind.SIGN_IN, DeliveryKind.DIGEST]
        assert [(each.kind, each.code) for each in told.returns] == [(ReturnKind.HARD_BOUNCE, "5.1.1")]
        assert [each.liked for each in told.feedback] == [True]
        assert told.suppressed is not None
        assert not told.more
        assert story.of(session, settings, reader, limit=1) is not None
        few = story.of(session, settings, reader, limit=1)
        assert few is not None
        assert (len(few.deliveries), few.more) == (1, True)
