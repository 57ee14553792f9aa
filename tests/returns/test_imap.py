"""Reading a real mailbox (Dovecot): each mail is acted on once, whatever happens between acting and moving it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from imap_tools import BaseMailBox
from sqlalchemy import func, select

from service.database.tables import ReturnEvent, SuppressionReason
from service.returns.imap import DONE, OTHER, MailboxError, MailboxReport, read_mailbox
from service.settings import Settings
from tests.returns.conftest import MailedReader
from tests.returns.imap_server import Dovecot, dovecot
from workers import tasks

pytestmark = pytest.mark.slow

HELLO = b"From: bob@example.org\r\nSubject: Hello\r\n\r\nDo you read this?\r\n"
BOMB = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nContent-Type: a/b\r\n\r\nx\r\n" * 200
HOSTILE = b"\xff\xfe: \x01\r\nFrom: " + b"(" * 5_000 + b"\r\nContent-Type: =?x?; =\r\n\r\n\xff"


@pytest.fixture(scope="module")
def running() -> Iterator[Dovecot]:
    # Not below pytest's folder, which is closed to the user that Dovecot gives the mailbox to.
    folder = Path(tempfile.mkdtemp(prefix="paperround-imap-"))
    folder.chmod(0o755)
    try:
        with dovecot(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def box(running: Dovecot, monkeypatch: pytest.MonkeyPatch) -> Dovecot:
    monkeypatch.setenv("SSL_CERT_FILE", str(running.authority))
    running.clear()
    return running


def reading(mailed: MailedReader, box: Dovecot) -> Settings:
    return mailed.settings.model_copy(update={"imap_url": box.url})


def events(mailed: MailedReader) -> int:
    with mailed.database.transaction() as session:
        return session.scalars(select(func.count()).select_from(ReturnEvent)).one()


def test_mails_are_acted_on_and_moved_and_nothing_stops_the_reader(mailed: MailedReader, box: Dovecot) -> None:
    box.put(HOSTILE, BOMB, HELLO, mailed.mail("vacation"), mailed.mail("postfix-unknown-user"))
    report = read_mailbox(mailed.database, reading(mailed, box))
    assert report == MailboxReport(taken=1, ignored=1, unknown=3)
    assert mailed.suppressed is SuppressionReason.HARD_BOUNCE
    assert box.held("INBOX") == []
    assert len(box.held(DONE)) == 2
    assert HELLO in box.held(OTHER)
    assert read_mailbox(mailed.database, reading(mailed, box)) == MailboxReport()


def test_a_crash_before_the_move_leaves_the_mail_and_reading_it_again_changes_nothing(
    mailed: MailedReader, box: Dovecot
) -> None:
    box.put(mailed.mail("gmail-over-quota"))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(BaseMailBox, "move", crash)
        with pytest.raises(KeyboardInterrupt):
            read_mailbox(mailed.database, reading(mailed, box))
    assert (len(box.held("INBOX")), box.unread(), events(mailed)) == (1, 1, 1)
    read_mailbox(mailed.database, reading(mailed, box))
    assert (len(box.held("INBOX")), len(box.held(DONE)), events(mailed)) == (0, 1, 1)


def test_a_mail_that_is_too_large_is_put_aside(mailed: MailedReader, box: Dovecot) -> None:
    box.put(HELLO + b"x" * 70_000)
    settings = reading(mailed, box).model_copy(update={"inbound_largest_bytes": 65_536})
    assert read_mailbox(mailed.database, settings) == MailboxReport(unknown=1)


def test_a_mailbox_that_cannot_be_read_is_one_line_without_the_password(mailed: MailedReader, box: Dovecot) -> None:
    wrong = reading(mailed, box).model_copy(update={"imap_url": box.url.replace("a-password", "wrong-password")})
    nowhere = reading(mailed, box).model_copy(update={"imap_url": "imaps://user:wrong-password@localhost:9/INBOX"})
    for settings in (wrong, nowhere):
        with pytest.raises(MailboxError, match="check PAPERROUND_IMAP_URL") as raised:
            read_mailbox(mailed.database, settings)
        assert "wrong-password" not in str(raised.value)


def test_a_mailbox_with_an_unknown_certificate_is_not_read(
    mailed: MailedReader, running: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(MailboxError, match="certificate"):
        read_mailbox(mailed.database, reading(mailed, running))


def test_the_scheduled_task_reads_the_mailbox(
    mailed: MailedReader, box: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "settings", reading(mailed, box))
    monkeypatch.setattr(tasks, "database", lambda: mailed.database)
    box.put(mailed.mail("postfix-unknown-user"))
    tasks.read_returns()
    assert mailed.suppressed is SuppressionReason.HARD_BOUNCE


def test_without_a_mailbox_nothing_is_read(mailed: MailedReader) -> None:
    assert read_mailbox(mailed.database, mailed.settings) == MailboxReport()
