"""Links to sign in that do not reach their operator are recorded, shown, and not sent again and again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service import doctor
from service.database import Database
from service.database.tables import Delivery, OperatorRole, ReturnEvent, ReturnKind
from service.delivery import sender
from service.doctor import Verdict
from service.operators import accounts
from service.operators.accounts import OperatorView
from service.returns.take import Outcome, take_mail
from service.settings import Settings
from service.subscribers import returned
from service.subscribers.return_addresses import ReturnAddresses
from service.subscribers.returned import Return, Taken
from tests.delivery.servers import sink
from tests.operators.conftest import operator, sign_in

OLGA = "olga@example.org"
BOUNCE = """\
From: MAILER-DAEMON@relay.example
To: {to}
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

Final-Recipient: rfc822; olga@example.org
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <olga@example.org> is not known
--b--
"""


def asked(database: Database, settings: Settings, now: datetime | None = None) -> int:
    """The delivery of a link that was asked for."""
    with database.transaction() as session:
        assert sign_in.request(session, settings, OLGA, now=now)
        return session.scalars(select(Delivery.id).order_by(Delivery.id.desc()).limit(1)).one()


def sent(database: Database, settings: Settings) -> list[str]:
    with sink() as server:
        sender.send_due(database, settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"}))
        return server.recipients


def olga(database: Database, settings: Settings) -> OperatorView:
    with database.transaction() as session:
        return accounts.listing(session, settings)[0]


def test_a_bounce_is_recorded_shown_and_stops_links_until_it_is_lifted(
    database: Database, settings: Settings, seated: Callable[[OperatorRole], TestClient]
) -> None:
    operator(database, email=OLGA)
    delivery = asked(database, settings, datetime.now(UTC) - timedelta(minutes=10))
    assert sent(database, settings) == [OLGA]
    assert olga(database, settings).came_back is None
    used = settings.model_copy(update={"return_domain": "bounces.papers.example"})
    to = ReturnAddresses(used).bounce(delivery)
    mail = BOUNCE.format(to=to).encode()
    outcomes = [take_mail(database, used, mail, source="inbound", recipients=[to]) for _ in range(2)]
    assert [each.outcome for each in outcomes] == [Outcome.TAKEN, Outcome.TAKEN]
    assert [each.why for each in outcomes] == [Taken.SUPPRESSED, Taken.KNOWN]

    with database.transaction() as session:
        (event,) = session.scalars(select(ReturnEvent))
        assert (event.kind, event.code, event.reader_id) == (ReturnKind.HARD_BOUNCE, "5.1.1", None)
        assert "@" not in event.diagnostic
    page = seated(OperatorRole.OWNER).get("/admin/operators").text
    assert "The last mail came back</strong> (hard bounce 5.1.1" in page
    assert "paperround suppressions lift" in page
    (told,) = doctor.operators(database, settings)
    assert (told.check, told.verdict) == ("operator 1", Verdict.WARNING)
    assert "hard bounce 5.1.1" in told.detail
    assert "@" not in told.detail

    asked(database, settings)
    assert sent(database, settings) == [], "strangers cannot make us mail a dead address by asking for links"
    assert olga(database, settings).came_back is not None
    with database.transaction() as session:
        assert returned.lift(session, settings, OLGA)
    assert olga(database, settings).came_back is None, "another link was sent since"
    assert [each.verdict for each in doctor.operators(database, settings)] == [Verdict.OK]


def test_a_link_that_the_relay_refuses_is_recorded_too(database: Database, settings: Settings) -> None:
    operator(database, email=OLGA)
    asked(database, settings)
    with sink(RCPT="550 5.1.1 <olga@example.org> is not known") as server:
        sender.send_due(database, settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"}))
    back = olga(database, settings).came_back
    assert back is not None
    assert (back.kind, back.code, back.source) == (ReturnKind.HARD_BOUNCE, "5.1.1", "smtp")


@pytest.mark.parametrize(
    ("event", "taken"),
    [
        (Return(ReturnKind.SOFT_BOUNCE, "postmark", "1", email=OLGA, code="4.2.2"), Taken.RECORDED),
        (Return(ReturnKind.COMPLAINT, "postmark", "1", email=OLGA), Taken.SUPPRESSED),
        (Return(ReturnKind.HARD_BOUNCE, "imap", "1", email=OLGA, unsigned=True, message_id="guessed"), Taken.STRANGER),
        (Return(ReturnKind.HARD_BOUNCE, "postmark", "1", email="eve@example.org"), Taken.STRANGER),
    ],
    ids=["soft", "complaint", "unsigned", "somebody else"],
)
def test_a_provider_names_the_address_alone(
    database: Database, settings: Settings, event: Return, taken: Taken
) -> None:
    operator(database, email=OLGA)
    asked(database, settings)
    sent(database, settings)
    with database.transaction() as session:
        assert returned.take(session, settings, event) is taken
    assert (olga(database, settings).came_back is not None) == (taken is not Taken.STRANGER)
    assert olga(database, settings).suppressed == (taken is Taken.SUPPRESSED)
