"""The sender under limits, over several relays, and with a key to sign by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from service.database import Database
from service.database.tables import Delivery
from service.delivery import dkim
from service.delivery.sender import SendReport, send_due
from service.settings import Settings
from tests.delivery.servers import sink
from tests.delivery.test_dkim import verified
from tests.delivery.test_sender import PlainComposer, readers


def test_a_limit_gives_claims_back_without_counting_a_try(database: Database, settings: Settings) -> None:
    readers(database, 20)
    with sink() as server:
        limited = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}?rate=12/hour"})
        report = send_due(database, limited, composer=PlainComposer())
        assert report == SendReport(sent=12)
        assert len(server.accepted) == 12
    with database.transaction() as session:
        waiting = session.scalars(select(Delivery).where(Delivery.state == "queued").order_by(Delivery.due_at)).all()
    assert len(waiting) == 8
    assert {(row.attempts, row.lease_owner) for row in waiting} == {(0, None)}
    assert waiting[0].due_at > datetime.now(UTC) + timedelta(minutes=50)
    assert len({row.due_at for row in waiting}) == 8


def test_one_relay_down_of_two_does_not_pause_the_queue(database: Database, settings: Settings) -> None:
    readers(database, 120)
    with sink() as server:
        both = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:9 smtp://127.0.0.1:{server.port}"})
        assert send_due(database, both, composer=PlainComposer()) == SendReport(sent=120)
        assert len(server.accepted) == len(set(server.recipients)) == 120


def test_all_relays_down_pause_the_queue(database: Database, settings: Settings) -> None:
    readers(database, 3)
    both = settings.model_copy(update={"smtp_url": "smtp://127.0.0.1:9 smtp://127.0.0.1:10"})
    report = send_due(database, both, composer=PlainComposer())
    assert report.paused
    assert "127.0.0.1:9" in report.reason
    assert "127.0.0.1:10" in report.reason


def test_what_leaves_is_signed(database: Database, settings: Settings, tmp_path: Path) -> None:
    readers(database, 3)
    dkim.make_key(tmp_path / "dkim.pem")
    with sink() as server:
        signing = settings.model_copy(
            update={"smtp_url": f"smtp://127.0.0.1:{server.port}", "dkim_key_file": tmp_path / "dkim.pem"}
        )
        assert send_due(database, signing, composer=PlainComposer()) == SendReport(sent=3)
        signer = dkim.configured(signing)
        assert signer is not None
        assert all(verified(content, signer) for _, content in server.accepted)


def test_without_its_key_nothing_leaves_unsigned(database: Database, settings: Settings, tmp_path: Path) -> None:
    readers(database, 3)
    with sink() as server:
        lost = settings.model_copy(
            update={"smtp_url": f"smtp://127.0.0.1:{server.port}", "dkim_key_file": tmp_path / "gone.pem"}
        )
        report = send_due(database, lost, composer=PlainComposer())
        assert report.paused
        assert "PAPERROUND_DKIM_KEY_FILE" in report.reason
        assert server.connections == 0
