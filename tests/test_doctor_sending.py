"""What the doctor says of the relay's answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from service import doctor
from service.database import Database
from service.database.tables import Delivery
from service.doctor import Finding, Verdict
from service.outbox import pause
from service.settings import Settings
from tests.delivery.test_sender import readers


def finding(settings: Settings, check: str) -> Finding:
    return next(each for each in doctor.examine(settings) if each.check == check)


def test_a_pause_is_told_with_its_reason_and_is_grave_after_an_hour(database: Database, settings: Settings) -> None:
    assert finding(settings, "sending").verdict is Verdict.OK
    pause.begin(database, "the relay mail.example:25 is down")
    told = finding(settings, "sending")
    assert told.verdict is Verdict.WARNING
    assert "mail.example:25" in told.detail
    pause.end(database)
    pause.begin(database, "the relay mail.example:25 is down", now=datetime.now(UTC) - timedelta(hours=2))
    assert finding(settings, "sending").verdict is Verdict.FAILURE


@pytest.mark.parametrize(("refused", "verdict"), [(4, Verdict.OK), (30, Verdict.WARNING)])
def test_many_refusals_are_told_by_their_code_without_addresses(
    database: Database, settings: Settings, refused: int, verdict: Verdict
) -> None:
    ids = readers(database, 100)
    with database.transaction() as session:
        session.execute(update(Delivery).values(state="sent", settled_at=text("now()"), reply="250 ok"))
        session.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids[:refused]))
            .values(state="failed", reply="given up after 1 try: 554 5.7.1 <reader@example.org> spam")
        )
    told = finding(settings, "refusals")
    assert told.verdict is verdict
    assert "example.org" not in told.detail
    assert ("by 554 5.7.1" in told.detail) == (verdict is Verdict.WARNING)
