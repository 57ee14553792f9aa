"""The journal: what a killed sender leaves is known, and what cannot be recorded is not sent."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text, update

from service.database import Database
from service.database.tables import Delivery
from service.delivery import journal, recovery, sender
from service.delivery.journal import Journal, Legacy
from service.delivery.pool import SmtpTransport
from service.delivery.relay import Relay
from service.delivery.results import CannotRecord, RelayDown
from service.settings import Settings
from tests.delivery.servers import Message, sink
from tests.delivery.test_sender import PlainComposer, aimed, readers, row, states_of


def left_by(folder: Path) -> Legacy | None:
    """What the only journal of the folder leaves; the file stays."""
    (path,) = journal.journals(folder)
    copy = folder / "copy"
    copy.write_bytes(path.read_bytes())
    with journal.abandoned(copy) as found:
        return found


def test_a_dead_run_leaves_what_was_taken_and_what_was_begun(tmp_path: Path) -> None:
    book = Journal(tmp_path, "host:1:abcd")
    for delivery_id in (1, 2, 3):
        book.begun(delivery_id)
    book.accepted(1, "250 2.0.0 Ok: queued as 4FZ\nünd")
    book.void(2)
    left = left_by(tmp_path)
    assert left is not None
    assert (left.owner, left.accepted, left.begun) == (
        "host:1:abcd",
        {1: "250 2.0.0 Ok: queued as 4FZ??nd"},
        frozenset({3}),
    )
    book.close(finished=False)


def test_a_living_run_is_not_taken_for_dead(tmp_path: Path) -> None:
    book = Journal(tmp_path, "me")
    (path,) = journal.journals(tmp_path)
    with journal.abandoned(path) as left:
        assert left is None
    assert path.exists()
    book.close()
    assert journal.journals(tmp_path) == []


def test_the_file_stays_until_all_is_settled_and_while_its_heir_is_at_work(tmp_path: Path) -> None:
    book = Journal(tmp_path, "me")
    book.begun(1)
    book.begun(2)
    book.settled([1])
    book.close()
    (path,) = journal.journals(tmp_path)

    def fail() -> None:
        with journal.abandoned(path) as left:
            assert left is not None
            with journal.abandoned(path) as other:
                assert other is None, "one heir at a time"
            raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError):
        fail()
    assert path.exists()
    with journal.abandoned(path):
        pass
    assert not path.exists()


@given(cut=st.integers(min_value=0, max_value=90))
def test_a_torn_journal_is_read_as_far_as_it_goes(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    book = Journal(folder, "owner")
    book.begun(1)
    book.accepted(1, "250 ok")
    book.begun(2)
    book.close()
    (path,) = journal.journals(folder)
    whole = path.read_bytes().split(b"\0")[0]
    path.write_bytes(whole[:cut])
    left = left_by(folder)
    lines = whole[:cut].count(b"\n")
    if lines == 0:
        assert left is None
        return
    assert left is not None
    assert left.accepted == ({1: "250 ok"} if lines >= 3 else {})
    assert left.begun == {1: frozenset(), 2: {1}, 3: frozenset(), 4: {2}}[lines]


def test_a_long_run_leaves_out_what_is_settled(tmp_path: Path) -> None:
    book = Journal(tmp_path, "me")
    book.begun(1)
    book.accepted(1, "250 first")
    book.begun(2)
    for delivery_id in range(3, 12_000):
        book.begun(delivery_id)
        book.accepted(delivery_id, "250 2.0.0 Ok: queued as 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF")
        book.settled([delivery_id])
    (path,) = journal.journals(tmp_path)
    assert path.stat().st_size < 1_200_000
    left = left_by(tmp_path)
    assert left is not None
    assert left.accepted[1] == "250 first"
    assert left.begun == {2}
    with journal.abandoned(path) as found:
        assert found is None, "the new file is locked too"
    book.close(finished=False)


class FullDisk:
    """``os.pwrite`` on a disk with room for so many bytes beyond what the file holds already."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._pwrite = os.pwrite

    def __call__(self, descriptor: int, data: bytes, offset: int) -> int:
        new = max(0, offset + len(data) - os.fstat(descriptor).st_size)
        if new > self.room:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data, new = data[: len(data) - (new - self.room)], self.room
        self.room -= new
        return self._pwrite(descriptor, data, offset)


def test_what_was_begun_can_always_be_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", FullDisk(40_000))
    book = Journal(tmp_path, "me")
    begun = []

    def go_on() -> None:
        for delivery_id in range(10**6):
            book.begun(delivery_id)
            begun.append(delivery_id)

    with pytest.raises(CannotRecord, match="No space left"):
        go_on()
    for delivery_id in begun:
        book.accepted(delivery_id, "2" * 500)
    left = left_by(tmp_path)
    assert left is not None
    assert set(left.accepted) == set(begun)
    assert len(begun) > 20


def test_a_full_disk_stops_the_sender_and_no_message_goes_unrecorded(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers(database, 400)
    with sink() as server:
        target = aimed(settings, server, send_connections=4)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", FullDisk(20_000))
            report = sender.send_due(database, target, composer=PlainComposer())
            assert report.paused
            assert "make room" in report.reason
            assert 0 < report.sent == len(server.accepted) < 400
            assert Counter(states_of(database).values()) == {"sent": report.sent, "queued": 400 - report.sent}
            patch.setattr(os, "pwrite", FullDisk(0))
            assert sender.send_due(database, target, composer=PlainComposer()).sent == 0
        assert sender.send_due(database, target, composer=PlainComposer()).sent == 400 - report.sent
    assert set(Counter(server.recipients).values()) == {1}


def test_the_dead_are_inherited_before_anything_is_sent(database: Database, settings: Settings) -> None:
    ids = readers(database, 4)
    folder = recovery.journals_folder(settings)
    book = Journal(folder, "the-dead")
    with database.transaction() as session:
        session.execute(
            update(Delivery).values(
                state="sending", lease_owner="the-dead", lease_until=text("now() + interval '1 hour'"), attempts=1
            )
        )
    for delivery_id in ids[:2]:
        book.begun(delivery_id)
    book.accepted(ids[0], "250 kept")
    book.close()
    with sink() as server:
        report = sender.send_due(database, aimed(settings, server), composer=PlainComposer())
    assert report.sent == 2
    assert server.recipients == ["reader3@example.org", "reader4@example.org"]
    states = states_of(database)
    assert [states[each] for each in ids] == ["sent", "uncertain", "sent", "sent"]
    assert row(database, ids[0]).reply == "250 kept"
    assert row(database, ids[2]).attempts == 1
    assert journal.journals(folder) == []


@pytest.mark.parametrize(("setting", "after"), [("repeat", "queued"), ("drop", "failed")])
def test_what_was_begun_follows_the_setting(database: Database, settings: Settings, setting: str, after: str) -> None:
    (delivery_id,) = readers(database, 1)
    before = row(database, delivery_id).message_id
    book = Journal(recovery.journals_folder(settings), "the-dead")
    with database.transaction() as session:
        session.execute(update(Delivery).values(state="sending", lease_owner="the-dead", lease_until=text("now()")))
    book.begun(delivery_id)
    book.close()
    recovery.sweep(database, settings.model_copy(update={"uncertain": setting}))
    assert row(database, delivery_id).state == after
    assert row(database, delivery_id).message_id == before


def test_a_database_that_began_anew_is_not_told_old_stories(database: Database, settings: Settings) -> None:
    folder = recovery.journals_folder(settings)
    book = Journal(folder, "of another database")
    for delivery_id in range(1, 10):
        book.begun(delivery_id)
        book.accepted(delivery_id, "250 kept")
    book.close()
    (path,) = journal.journals(folder)
    os.utime(path, (0, 0))
    readers(database, 3)
    recovery.sweep(database, settings)
    assert set(states_of(database).values()) == {"queued"}


def test_inherited_what_another_sender_holds_by_now_is_sent_all_the_same(
    database: Database, settings: Settings
) -> None:
    (delivery_id, begun) = readers(database, 2)
    book = Journal(recovery.journals_folder(settings), "the-dead")
    for each in (delivery_id, begun):
        book.begun(each)
    book.accepted(delivery_id, "250 kept")
    book.close()
    with database.transaction() as session:
        session.execute(
            update(Delivery).values(
                state="sending", lease_owner="another", lease_until=text("now() + interval '1 hour'")
            )
        )
    recovery.inherit(database, settings)
    assert states_of(database) == {delivery_id: "sent", begun: "sending"}


_KILLED = """
import os, signal, sys
from pathlib import Path
from service.delivery.journal import Journal
book = Journal(Path(sys.argv[1]), "killed")
for delivery_id in range(1000):
    book.begun(delivery_id)
    book.accepted(delivery_id, "250 ok")
book.begun(1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sigkill_takes_no_line_away(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    left = left_by(tmp_path)
    assert left is not None
    assert set(left.accepted) == set(range(1000))
    assert left.begun == {1000}


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({}, ["begun", "accepted"]),
        ({"body": "554 5.6.0 no"}, ["begun", "void"]),
        ({"body": "421 4.3.2 closing"}, ["begun", "void"]),
        ({"RCPT": "550 5.7.1 no"}, []),
    ],
)
def test_the_transport_tells_the_record(answers: dict[str, Any], told: list[str]) -> None:
    heard: list[str] = []

    class Hearing:
        def begun(self, _delivery_id: int) -> None:
            heard.append("begun")

        def accepted(self, _delivery_id: int, _reply: str) -> None:
            heard.append("accepted")

        def void(self, _delivery_id: int) -> None:
            heard.append("void")

    async def converse(relay: Relay) -> None:
        transport = SmtpTransport(relay, connections=1, mail_domain="papers.example")
        try:
            async for _ in transport.send([Message(1)], record=Hearing()):
                pass
        except RelayDown:
            assert answers["body"].startswith("421")
        await transport.close()

    with sink(**answers) as server:
        asyncio.run(converse(server.relay))
    assert heard[: len(told)] == told
    assert bool(heard) == bool(told)
