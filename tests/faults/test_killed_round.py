"""A round by the command line, killed with SIGKILL in the middle of sending, and run again at once."""

from __future__ import annotations

import mailbox
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from service.readiness import open_ready
from service.settings import Settings
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

READERS = 200
CONNECTIONS = 8


def received(home: Path) -> list[tuple[str, str]]:
    """(recipient, Message-ID) of every mail that the mailbox has taken."""
    box = mailbox.Maildir(home / "mailbox", create=False)
    return [(mail["To"], mail["Message-ID"]) for mail in box]


def arrived(home: Path) -> int:
    return sum(1 for _ in (home / "mailbox" / "new").glob("*"))


def test_a_killed_round_loses_nobody_and_repeats_only_what_was_on_the_wire(home: Path) -> None:
    """Leases are as long as in service: what brings the rows back is the journal, not the end of a lease."""
    with open_ready(Settings(home=home)) as database:
        for number in range(READERS):
            factories.reader(database, Settings(home=home), f"r{number}@example.org", queries=["robots"])
        factories.edition(database, factories.record("Robots"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")}
    environment |= {"PAPERROUND_HOME": str(home), "PAPERROUND_SEND_CONNECTIONS": str(CONNECTIONS)}
    command = [sys.executable, "-m", "service.cli", "round", "--now", "--json"]

    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while arrived(home) < READERS // 4:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(received(home)) < READERS

    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    mails = received(home)
    readers = Counter(recipient for recipient, _ in mails)
    assert set(readers) == {f"r{number}@example.org" for number in range(READERS)}, "nobody is lost"
    ids = {recipient: {message for to, message in mails if to == recipient} for recipient in readers}
    assert all(len(each) == 1 for each in ids.values()), "a repeat carries the same Message-ID"
    assert sum(count - 1 for count in readers.values()) <= CONNECTIONS, "one answer on the wire of each connection"
