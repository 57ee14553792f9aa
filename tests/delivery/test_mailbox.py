"""The local mailbox: keeps every mail, shows it, and outlives the kill of its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from service.delivery import local, relay
from service.delivery.mailbox import Mailbox, MailNotFoundError
from service.delivery.results import Accepted
from service.settings import Settings
from tests.delivery.servers import Message, sink
from tests.delivery.test_smtp import kinds, messages, send


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """Embedded settings without a relay."""
    return Settings(home=tmp_path, database_url=None, smtp_url=None)


def digest(number: int) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Paperround <digest@papers.example>"
    message["To"] = f"reader{number}@example.org"
    message["Subject"] = f"Grüße, {number} papers"
    message.set_content(f"Text {number} – ende\n")
    message.add_alternative(f"<p>HTML {number} – ende</p>\n", subtype="html")
    message.set_boundary("=-=")
    return message.as_bytes()


@contextmanager
def process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The mailbox in a process of its own, as `paperround up` runs it."""
    code = (
        "from pathlib import Path; from service.settings import Settings; from service.delivery.mailbox import Mailbox;"
        f"Mailbox.serve_forever(Settings(home=Path({str(settings.home)!r}), database_url=None, smtp_url=None))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while local.running_port(settings.home) is None:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield child
    finally:
        child.kill()
        child.wait()


def test_mail_is_kept_listed_newest_first_and_opened(home: Settings) -> None:
    mailbox = Mailbox.of(home)
    assert mailbox.messages() == []
    with Mailbox.running(home):
        for number in (1, 2, 3):
            results, _ = send(relay.configured(home)[0], [Message(number, digest(number))])
            assert kinds(results) == {Accepted: 1}
    newest, *_, oldest = mailbox.messages()
    assert newest.subject == "Grüße, 3 papers"
    assert (oldest.recipient, oldest.sender) == ("reader1@example.org", "Paperround <digest@papers.example>")
    assert newest.received_at > oldest.received_at
    opened = mailbox.get(oldest.key)
    assert opened.mail == oldest
    assert opened.text.strip() == "Text 1 – ende"
    assert opened.html is not None
    assert "HTML 1 – ende" in opened.html
    assert opened.source == digest(1)
    assert [name for name, _ in opened.headers][:3] == ["From", "To", "Subject"]
    assert [mail.subject for mail in mailbox.messages(limit=1, offset=1)] == ["Grüße, 2 papers"]
    assert mailbox.count() == 3
    assert mailbox.clear() == 3
    assert mailbox.messages() == []


@pytest.mark.parametrize("key", ["", "x", "../../secret", f"{1:020}.1_1.00000000"])
def test_unknown_mail(home: Settings, key: str) -> None:
    with pytest.raises(MailNotFoundError):
        Mailbox.of(home).get(key)


def test_mail_without_parts_or_headers_is_shown_all_the_same(home: Settings) -> None:
    with Mailbox.running(home):
        send(relay.configured(home)[0], [Message(1, b"no header at all\r\n"), Message(2, b"\xff\xfe\r\n\r\n\xff")])
    mailbox = Mailbox.of(home)
    for mail in mailbox.messages():
        assert mailbox.get(mail.key).html is None


def test_pipelined_mail_through_a_process_each_once(home: Settings) -> None:
    with process(home) as child:
        (target,) = relay.configured(home)
        results, down = send(
            target, [Message(m.delivery_id, digest(m.delivery_id)) for m in messages(200)], connections=8
        )
        assert down is None
        assert kinds(results) == {Accepted: 200}
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0
    counted = Counter(mail.recipient for mail in Mailbox.of(home).messages(limit=1000))
    assert counted == Counter(m.recipient for m in messages(200))
    assert not (home.home / "run" / "mailbox.port").exists()


def test_killed_mailbox_keeps_what_it_took_and_a_new_one_takes_over(home: Settings) -> None:
    with process(home) as child:
        send(relay.configured(home)[0], messages(20))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert (home.home / "run" / "mailbox.port").exists()
        with pytest.raises(relay.RelayDown):
            relay.configured(home)
    with Mailbox.running(home):
        send(relay.configured(home)[0], messages(1))
    assert Mailbox.of(home).count() == 21


def test_a_stranger_on_the_old_port_is_not_taken_for_the_mailbox(home: Settings) -> None:
    with sink() as stranger:
        local.announce(home.home, stranger.port)
        assert local.running_port(home.home) is None
        with Mailbox.running(home):
            assert relay.configured(home)[0].port != stranger.port


def test_a_running_mailbox_is_joined_not_doubled(home: Settings) -> None:
    with Mailbox.running(home):
        port = relay.configured(home)[0].port
        with Mailbox.running(home):
            assert relay.configured(home)[0].port == port
        assert relay.configured(home)[0].port == port
    assert local.running_port(home.home) is None


def test_two_mailboxes_at_once_share_the_folder(home: Settings) -> None:
    ready, done = threading.Barrier(2), threading.Barrier(2)

    def one() -> None:
        ready.wait()
        with Mailbox.running(home):
            done.wait()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert local.running_port(home.home) is None


def test_no_mailbox_where_a_relay_is_named(home: Settings) -> None:
    with Mailbox.running(home.model_copy(update={"smtp_url": "smtp://127.0.0.1:9"})):
        assert local.running_port(home.home) is None


def test_a_disk_that_cannot_be_written_defers(home: Settings) -> None:
    with Mailbox.running(home):
        (home.home / "mailbox" / "tmp").rmdir()
        results, _ = send(relay.configured(home)[0], messages(1))
    assert results[1].reply.startswith("451 4.3.0")
