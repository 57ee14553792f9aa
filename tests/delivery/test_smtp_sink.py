"""Against smtp-sink, the test server of Postfix."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.delivery.relay import Relay, Tls
from service.delivery.results import Accepted
from tests.delivery.servers import Message
from tests.delivery.test_smtp import kinds, send

PROGRAM = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin:/usr/libexec/postfix")


@dataclass(frozen=True)
class PostfixSink:
    port: int
    kept: Path
    """Every message, one behind the other."""


@pytest.fixture
def postfix_sink() -> Iterator[PostfixSink]:
    if PROGRAM is None:
        pytest.skip("smtp-sink (Debian package postfix) is not on this machine")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)  # as root it gives up its rights before it writes
        rights = ["-u", "nobody"] if os.geteuid() == 0 else []
        arguments = [PROGRAM, *rights, "-D", str(folder / "mail"), f"127.0.0.1:{port}", "1000"]
        child = subprocess.Popen(arguments, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            _wait_until_open(port, child)
            yield PostfixSink(port, folder / "mail")
        finally:
            child.kill()
            child.wait()


def _wait_until_open(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 5
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_every_message_reaches_postfix_sink_once_and_whole(postfix_sink: PostfixSink, size: int) -> None:
    body = b"Subject: Papers\r\n\r\n" + (b"." * 3 + b"x" * 71 + b"\r\n") * (size // 76)
    batch = [Message(number, body) for number in range(1, 501)]
    results, down = send(Relay("127.0.0.1", postfix_sink.port, Tls.OFF), batch, connections=16)
    assert down is None
    assert kinds(results) == {Accepted: 500}
    kept = postfix_sink.kept.read_bytes()
    recipients = Counter(line[13:] for line in kept.splitlines() if line.startswith(b"X-Rcpt-Args: "))
    assert sum(recipients.values()) == 500
    assert set(recipients.values()) == {1}
    assert kept.count(b"\n..." + b"x" * 71) == 500 * (size // 76)
