"""The sender: from rows of the outbox to settled rows, with a real database and real SMTP conversations."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from service.database import Database, months
from service.database.tables import Delivery, DeliveryKind, Reader, ReaderState, ReturnEvent, Suppression
from service.delivery.pool import SmtpTransport
from service.delivery.refusals import STREAK_LIMIT, Refusals
from service.delivery.results import Accepted, Deferred, Outgoing, Record, Result, Uncertain, Unsent
from service.delivery.sender import PORTION, SendReport, send_due, sending_seconds, timeouts_of
from service.mails.compose import Composed, Withheld
from service.outbox import rows
from service.outbox.claims import Claim
from service.settings import Settings
from service.subscribers import addresses
from tests.delivery.servers import Act, Sink, sink, whenever


@dataclass
class PlainComposer:
    """Composes a line of text for whoever is claimed; may be told to withhold, to choke, or to do something first."""

    withheld: frozenset[int] = frozenset()
    poison: frozenset[int] = frozenset()
    before: Callable[[Session, Sequence[Claim]], None] | None = None
    composed: list[int] = field(default_factory=list)

    def compose(self, session: Session, claims: Sequence[Claim]) -> list[Composed | Withheld]:
        if self.before is not None:
            self.before(session, claims)
        if bad := self.poison.intersection(claim.delivery_id for claim in claims):
            raise ValueError(f"cannot make {bad}")
        emails = dict(
            session.execute(
                select(Reader.id, Reader.email).where(Reader.id.in_({claim.reader_id for claim in claims}))
            ).all()
        )
        self.composed += [claim.delivery_id for claim in claims]
        return [
            Withheld(claim.delivery_id, "not entitled")
            if claim.delivery_id in self.withheld
            else Composed(
                claim.delivery_id,
                "digest@papers.example",
                emails[claim.reader_id],
                f"Message-ID: <{claim.message_id}>\r\n\r\nPapers.\r\n".encode(),
            )
            for claim in claims
        ]


def readers(database: Database, count: int, *, deadline: datetime | None = None) -> list[int]:
    """So many active readers, each with a digest waiting; the ids of the deliveries, in step with reader1, reader2…"""
    with database.transaction() as session:
        people = [
            Reader(
                email=f"reader{number}@example.org",
                address_key=f"reader{number}@example.org",
                state=ReaderState.ACTIVE,
                paper_limit=12,
                next_digest_at=datetime(2030, 1, 1, tzinfo=UTC),
            )
            for number in range(1, count + 1)
        ]
        session.add_all(people)
        session.flush()
        return [
            rows.enqueue(
                session,
                kind=DeliveryKind.DIGEST,
                reader_id=person.id,
                mail_domain="papers.example",
                digest_id=months.draw(session, months.month_of(datetime.now(UTC))),
                deadline=deadline,
            )
            for person in people
        ]


def states_of(database: Database) -> dict[int, str]:
    with database.transaction() as session:
        return dict(session.execute(select(Delivery.id, Delivery.state)).all())


def row(database: Database, delivery_id: int) -> Delivery:
    with database.transaction() as session:
        return session.get_one(Delivery, delivery_id)


def aimed(settings: Settings, server: Sink, **changes: object) -> Settings:
    """The settings, sending to ``server``."""
    return settings.model_copy(
        update={"smtp_url": f"smtp://127.0.0.1:{server.port}", "smtp_timeout_seconds": 1.0, **changes}
    )


def test_everything_due_is_sent_once_and_settled(database: Database, settings: Settings) -> None:
    readers(database, 230)
    progress: list[int] = []
    with sink() as server:
        report = send_due(
            database, aimed(settings, server, send_batch=100), composer=PlainComposer(), on_progress=progress.append
        )
        assert report == SendReport(sent=230)
        assert send_due(database, aimed(settings, server), composer=PlainComposer()) == SendReport()
    assert Counter(server.recipients) == Counter(f"reader{number}@example.org" for number in range(1, 231))
    assert set(states_of(database).values()) == {"sent"}
    assert progress[-1] == 230
    assert progress == sorted(progress)


def test_several_senders_at_once_send_no_row_twice(database: Database, settings: Settings) -> None:
    readers(database, 300)
    with sink() as server, ThreadPoolExecutor(4) as pool:
        target = aimed(settings, server, send_batch=20, send_connections=2)
        reports = list(pool.map(lambda _: send_due(database, target, composer=PlainComposer()), range(4)))
    assert sum(report.sent for report in reports) == 300
    assert set(Counter(server.recipients).values()) == {1}
    assert len(server.accepted) == 300


def test_a_sign_in_link_overtakes_a_round_of_digests_under_way(database: Database, settings: Settings) -> None:
    readers(database, 400)
    asked: list[int] = []

    def ask(_settled: int) -> None:
        if not asked:
            with database.transaction() as session:
                reader = session.scalars(select(Reader).where(Reader.address_key == "reader400@example.org")).one()
                asked.append(
                    rows.enqueue(session, kind=DeliveryKind.SIGN_IN, reader_id=reader.id, mail_domain="papers.example")
                )

    with sink() as server:
        target = aimed(settings, server, send_batch=20)
        assert send_due(database, target, composer=PlainComposer(), on_progress=ask).sent == 401
    place = next(n for n, (recipient, _) in enumerate(server.accepted) if recipient == "reader400@example.org")
    assert place < 200, "two claims under way go first, the other digests after it"


def test_withheld_messages_are_cancelled(database: Database, settings: Settings) -> None:
    ids = readers(database, 3)
    with sink() as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer(withheld=frozenset(ids[:1])))
    assert report == SendReport(sent=2, cancelled=1)
    assert row(database, ids[0]).reply == "not entitled"


@pytest.mark.parametrize("last_moment", ["unsubscribes", "is suppressed", "is deleted"])
def test_unsubscribe_between_plan_and_send_cancels(database: Database, settings: Settings, last_moment: str) -> None:
    """Not before composing: after it, a moment before the envelope."""
    ids = readers(database, 5)
    hashed = addresses.hashed(settings, "reader2@example.org")

    def change_mind(_session: Session, _claims: Sequence[Claim]) -> None:
        with database.transaction() as other:
            if last_moment == "unsubscribes":
                wanted = Reader.address_key == "reader2@example.org"
                other.execute(update(Reader).where(wanted).values(state=ReaderState.UNSUBSCRIBED))
            elif last_moment == "is suppressed":
                other.add(Suppression(address_hash=hashed, reason="complaint"))

    class ThenComposer(PlainComposer):
        def compose(self, session: Session, claims: Sequence[Claim]) -> list[Composed | Withheld]:
            made = super().compose(session, claims)
            change_mind(session, claims)
            if last_moment == "is deleted":
                session.execute(text("DELETE FROM reader WHERE address_key = 'reader2@example.org'"))
            return made

    with sink() as server:
        report = send_due(database, aimed(settings, server), composer=ThenComposer())
    assert report == SendReport(sent=4, cancelled=1)
    assert "reader2@example.org" not in server.recipients
    assert row(database, ids[1]).state == "cancelled"


def test_confirmation_goes_to_a_pending_reader_and_a_digest_does_not(database: Database, settings: Settings) -> None:
    ids = readers(database, 2)
    with database.transaction() as session:
        session.execute(update(Reader).values(state=ReaderState.PENDING))
        session.execute(update(Delivery).where(Delivery.id == ids[0]).values(kind=DeliveryKind.CONFIRM, digest_id=None))
    with sink() as server:
        assert send_due(database, aimed(settings, server), composer=PlainComposer()) == SendReport(sent=1, cancelled=1)
    assert server.recipients == ["reader1@example.org"]


def test_a_row_whose_lease_was_taken_away_is_left_alone(database: Database, settings: Settings) -> None:
    ids = readers(database, 2)

    def take_away(_session: Session, _claims: Sequence[Claim]) -> None:
        with database.transaction() as other:
            other.execute(update(Delivery).where(Delivery.id == ids[0]).values(lease_owner="somebody else"))

    with sink() as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer(before=take_away))
    assert report == SendReport(sent=1)
    assert row(database, ids[0]).lease_owner == "somebody else"


def test_poisonous_message_fails_alone(database: Database, settings: Settings) -> None:
    ids = readers(database, 10)
    with sink() as server, capture_logs() as logs:
        report = send_due(database, aimed(settings, server), composer=PlainComposer(poison=frozenset({ids[4]})))
    assert report == SendReport(sent=9, failed=1)
    assert row(database, ids[4]).state == "failed"
    assert "ValueError" in (row(database, ids[4]).reply or "")
    assert any(line.get("delivery") == ids[4] for line in logs)


def test_database_failing_while_composing_fails_nobody(database: Database, settings: Settings) -> None:
    readers(database, 3)

    def fail(_session: Session, _claims: Sequence[Claim]) -> None:
        raise OperationalError("SELECT", None, Exception("server closed the connection"))

    with sink() as server, pytest.raises(OperationalError):
        send_due(database, aimed(settings, server), composer=PlainComposer(before=fail))
    assert server.accepted == []
    assert set(states_of(database).values()) == {"queued"}


def test_results_in_hand_wait_for_a_database_that_restarts(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers(database, 30)
    settle, failures = rows.settle, iter([True, True])

    def flaky(*args: Any, **options: Any) -> int:
        if next(failures, False):
            raise OperationalError("UPDATE", None, Exception("terminating connection"))
        return settle(*args, **options)

    monkeypatch.setattr(rows, "settle", flaky)
    with sink() as server:
        assert send_due(database, aimed(settings, server), composer=PlainComposer()) == SendReport(sent=30)
    assert len(server.accepted) == 30
    assert set(states_of(database).values()) == {"sent"}


@pytest.mark.parametrize(("lease", "timeout"), [(10, 60.0), (300, 60.0), (300, 600.0), (10, 0.5)])
def test_no_content_leaves_whose_answer_could_outlast_the_lease(settings: Settings, lease: int, timeout: float) -> None:
    odd = settings.model_copy(update={"lease_seconds": lease, "smtp_timeout_seconds": timeout})
    assert sending_seconds(odd) > 0
    assert sending_seconds(odd) + 2 * timeouts_of(odd).content < lease


def test_4xx_defers_with_a_later_try_and_counts_it(database: Database, settings: Settings) -> None:
    ids = readers(database, 3)
    with sink(RCPT=whenever("reader2@", "451 4.7.1 greylisted")) as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert report == SendReport(sent=2, deferred=1)
    deferred = row(database, ids[1])
    assert (deferred.state, deferred.attempts) == ("deferred", 1)
    assert deferred.due_at > datetime.now(UTC)
    assert deferred.reply == "451 4.7.1 greylisted"
    with sink() as server:
        later = deferred.due_at + timedelta(seconds=1)
        assert send_due(database, aimed(settings, server), composer=PlainComposer(), now=later) == SendReport(sent=1)
    assert server.recipients == ["reader2@example.org"]


def test_no_try_beyond_the_deadline_or_the_limit(database: Database, settings: Settings) -> None:
    ids = readers(database, 2, deadline=datetime.now(UTC) + timedelta(seconds=1))
    with database.transaction() as session:
        session.execute(update(Delivery).where(Delivery.id == ids[1]).values(deadline=None, attempts=11))
    with sink(body="451 4.3.0 later") as server:
        report = send_due(database, aimed(settings, server, attempts_limit=12), composer=PlainComposer())
    assert report == SendReport(failed=2)
    assert "given up after 1 try" in (row(database, ids[0]).reply or "")
    assert "given up after 12 tries" in (row(database, ids[1]).reply or "")


def test_hard_bounce_fails_and_suppresses_without_keeping_the_address(database: Database, settings: Settings) -> None:
    ids = readers(database, 3)

    def refuse(line: str) -> str | None:
        return "550 5.1.1 <reader2@example.org> nobody" if "reader2@" in line else None

    with sink(RCPT=refuse) as server, capture_logs() as logs:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert report == SendReport(sent=2, failed=1)
    assert row(database, ids[1]).state == "failed"
    with database.transaction() as session:
        suppressed = session.scalars(select(Suppression)).one()
    assert suppressed.address_hash == addresses.hashed(settings, "reader2@example.org")
    assert (suppressed.reason, suppressed.detail) == ("hard bounce", "5.1.1")
    assert "example.org" not in str(logs)


def test_mailboxes_refused_in_the_conversation_follow_the_rule_for_bounces(
    database: Database, settings: Settings
) -> None:
    ids = readers(database, 4)
    answers = {"reader1@": "550 5.2.1 disabled", "reader2@": "552 5.2.2 full", "reader3@": "552 5.2.3 too large for it"}

    def refuse(line: str) -> str | None:
        return next((answer for name, answer in answers.items() if name in line), None)

    with sink(RCPT=refuse) as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert report == SendReport(sent=1, failed=3)
    with database.transaction() as session:
        events = {each.delivery_id: (each.kind, each.code) for each in session.scalars(select(ReturnEvent))}
        suppressed = session.scalars(select(Suppression)).one()
    assert events == {ids[0]: ("hard bounce", "5.2.1"), ids[1]: ("soft bounce", "5.2.2")}
    assert suppressed.address_hash == addresses.hashed(settings, "reader1@example.org")


def test_other_refusals_for_good_suppress_nobody(database: Database, settings: Settings) -> None:
    readers(database, 3)
    with sink(RCPT=whenever("reader1@", "550 5.7.1 policy"), body=whenever("reader2@", "554 5.7.1 spam")) as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert report == SendReport(sent=1, failed=2)
    with database.transaction() as session:
        assert session.scalars(select(Suppression)).all() == []


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        ("connect", "554 5.7.1 go away"),
        ("connect", Act.DROP),
        ("EHLO", "421 4.3.2 closing"),
        ("MAIL", "421 4.3.2 closing"),
        ("MAIL", "550 5.7.1 not your address"),
        ("RCPT", "421 4.7.0 slow down"),
        ("RCPT", "550 5.1.1 nobody"),
        ("RCPT", "450 4.2.0 greylisted"),
        ("body", "554 5.7.1 quota exceeded"),
        ("body", "452 4.3.1 disk full"),
    ],
)
def test_relay_that_serves_nobody_pauses_the_queue_and_burns_nothing(
    database: Database, settings: Settings, stage: str, answer: str | Act
) -> None:
    ids = readers(database, 60)
    with sink(**{stage: answer}) as server, capture_logs() as logs:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert replace(report, reason="") == SendReport(paused=True)
    assert [line["reason"] for line in logs if line["event"] == "send.paused"] == [report.reason]
    assert set(states_of(database).values()) == {"queued"}
    with database.transaction() as session:
        assert set(session.scalars(select(Delivery.attempts))) == {0}
        assert set(session.scalars(select(Delivery.lease_owner))) == {None}
        assert session.scalars(select(Suppression)).all() == []
    with sink() as healthy:
        later = datetime.now(UTC) + timedelta(days=1)
        assert send_due(database, aimed(settings, healthy), composer=PlainComposer(), now=later).sent == 60
    assert len(set(healthy.recipients)) == len(ids) == 60


def test_no_relay_claims_nothing(database: Database, settings: Settings) -> None:
    readers(database, 2)
    report = send_due(database, settings.model_copy(update={"smtp_url": None}), composer=PlainComposer())
    assert report.paused
    assert "PAPERROUND_SMTP_URL" in report.reason
    assert set(states_of(database).values()) == {"queued"}


def test_answer_lost_after_the_final_dot_is_recorded_as_uncertain(database: Database, settings: Settings) -> None:
    ids = readers(database, 4)
    with sink(body=whenever("reader3@", Act.DROP)) as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert report == SendReport(sent=3, uncertain=1)
    assert row(database, ids[2]).state == "uncertain"


def test_relay_that_falls_midway_keeps_what_it_took(database: Database, settings: Settings) -> None:
    readers(database, 200)
    taken = 0

    def until_fifty(_recipients: str) -> str | None:
        nonlocal taken
        taken += 1
        return None if taken <= 50 else "421 4.3.2 closing"

    with sink(body=until_fifty) as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert (report.sent, report.paused) == (50, True)
    assert Counter(states_of(database).values()) == {"sent": 50, "queued": 150}
    with sink() as healthy:
        assert send_due(database, aimed(settings, healthy), composer=PlainComposer(), insist=True).sent == 150
    assert not set(server.recipients) & set(healthy.recipients)


@dataclass
class ScriptedTransport:
    """Answers as told, without a network."""

    answer: Callable[[Outgoing], Result]
    batches: list[int] = field(default_factory=list)

    async def send(
        self, batch: Sequence[Outgoing], *, latest: float | None = None, record: Record | None = None
    ) -> AsyncIterator[Result]:
        assert latest is not None
        assert record is not None
        self.batches.append(len(batch))
        for message in batch:
            await asyncio.sleep(0)
            yield self.answer(message)

    async def close(self) -> None:
        raise AssertionError("a transport that was lent stays open")


def test_readers_are_looked_at_again_in_portions(database: Database, settings: Settings) -> None:
    readers(database, 250)
    transport = ScriptedTransport(lambda message: Accepted(message.delivery_id, "250 ok"))
    assert send_due(database, settings, composer=PlainComposer(), transport=transport).sent == 250
    assert max(transport.batches) <= PORTION


def test_unsent_goes_back_and_is_sent_by_the_same_run(database: Database, settings: Settings) -> None:
    readers(database, 3)
    seen: Counter[int] = Counter()

    def answer(message: Outgoing) -> Result:
        seen[message.delivery_id] += 1
        if seen[message.delivery_id] == 1:
            return Unsent(message.delivery_id, "its time for sending ran out")
        return Accepted(message.delivery_id, "250 ok")

    report = send_due(database, settings, composer=PlainComposer(), transport=ScriptedTransport(answer))
    assert report == SendReport(sent=3)


def test_a_crash_of_the_transport_leaves_what_may_have_arrived_to_its_lease(
    database: Database, settings: Settings
) -> None:
    ids = readers(database, PORTION + 70)

    def answer(message: Outgoing) -> Result:
        if message.delivery_id == ids[10]:
            raise RuntimeError("a mistake of ours")
        return Accepted(message.delivery_id, "250 ok")

    with pytest.raises(RuntimeError):
        send_due(database, settings, composer=PlainComposer(), transport=ScriptedTransport(answer))
    states = states_of(database)
    assert [states[each] for each in ids[:10]] == ["sent"] * 10
    assert [states[each] for each in ids[10:PORTION]] == ["sending"] * (PORTION - 10)
    assert {states[each] for each in ids[PORTION:]} <= {"queued", "sent"}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as in a terminal: a shell's background job starts with it ignored, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupted_it_hears_out_what_is_on_the_wire(database: Database, settings: Settings) -> None:
    readers(database, 120)
    interrupted: list[bool] = []

    class Interrupting(SmtpTransport):
        async def send(
            self, batch: Sequence[Outgoing], *, latest: float | None = None, record: Record | None = None
        ) -> AsyncGenerator[Result, None]:
            async for result in super().send(batch, latest=latest, record=record):
                yield result
                if not interrupted:
                    interrupted.append(True)
                    signal.raise_signal(signal.SIGINT)

    with sink() as server:
        transport = Interrupting(server.relay, connections=2, mail_domain="papers.example")
        with pytest.raises(KeyboardInterrupt):
            send_due(database, settings, composer=PlainComposer(), transport=transport)
    counted = Counter(states_of(database).values())
    assert counted["sent"] == len(server.accepted)
    assert counted["sending"] == 0


def test_refusals_are_believed_once_somebody_is_accepted() -> None:
    refusals = Refusals()
    held = [Deferred(number, "451 later") for number in range(STREAK_LIMIT - 1)]
    assert not any(refusals.add(refusal) for refusal in held)
    assert refusals.accepted() == held
    assert refusals.accepted() == []
    assert not any(refusals.add(refusal) for refusal in held)
    refusals.release()
    assert refusals.add(held[0]), "the streak goes on over a release"


def test_uncertain_is_not_counted_as_refusal(database: Database, settings: Settings) -> None:
    readers(database, 30)
    transport = ScriptedTransport(lambda message: Uncertain(message.delivery_id, "no answer"))
    assert send_due(database, settings, composer=PlainComposer(), transport=transport) == SendReport(uncertain=30)
