"""``opendkim-testmsg`` with our records for its DNS: it knows no other way to a key than the system's resolver.

So it runs in a mount namespace of its own, where ``/etc/resolv.conf`` names a DNS server of ours. Only root may do so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest

from service.delivery.dkim import Record

TESTMSG = shutil.which("opendkim-testmsg") or shutil.which("opendkim-testmsg", path="/usr/sbin")


def complaint(content: bytes, records: Sequence[Record], folder: Path) -> str | None:
    """What ``opendkim-testmsg`` has against the message; None: its signature holds. Skips where it cannot run."""
    if TESTMSG is None:
        pytest.skip("opendkim-testmsg (Debian package opendkim-tools) is not on this machine")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a resolver of its own for opendkim-testmsg needs root and a mount namespace")
    with _name_server(records) as address:
        resolver = folder / "resolv.conf"
        resolver.write_text(f"nameserver {address}\noptions timeout:1 attempts:2 use-vc\n")
        script = 'mount --bind "$1" /etc/resolv.conf && exec "$2" -C'
        ended = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", str(resolver), TESTMSG],
            input=content,
            check=False,
            capture_output=True,
            timeout=30,
        )
    said = ended.stderr.decode().strip()
    return None if ended.returncode == 0 and not said else said or f"exit status {ended.returncode}"


@contextmanager
def _name_server(records: Sequence[Record]) -> Iterator[str]:
    """Answers for ``records`` by TCP on port 53 of a loopback address that nobody else has."""
    server = _bound()
    published = {f"{record.name}.": record for record in records}

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as received:
                    while len(length := received.read(2)) == 2:
                        asked = dns.message.from_wire(received.read(int.from_bytes(length, "big")))
                        answer = _answer(asked, published).to_wire()
                        connection.sendall(len(answer).to_bytes(2, "big") + answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield str(server.getsockname()[0])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def _bound() -> socket.socket:
    for last in range(1, 255):
        with suppress(OSError):
            return socket.create_server((f"127.53.{os.getpid() % 256}.{last}", 53))
    raise AssertionError("no loopback address is free")


def _answer(asked: dns.message.Message, published: dict[str, Record]) -> dns.message.Message:
    answer = dns.message.make_response(asked)
    answer.flags |= dns.flags.AA | dns.flags.RA
    question = asked.question[0]
    record = published.get(question.name.to_text())
    if record is not None:
        line = record.zone_line.partition("(")[2].rpartition(")")[0]
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", line))
    return answer
