"""Sending over SMTP: messages a second, counted at the sink.

    python -m benchmarks.send --json

``ours`` is the client that the sender uses, pool and results and all; beside it smtplib in as many threads as there are
connections, aiosmtplib, Postfix's smtp-source (in C, where it is on the machine), and a bare pipelined loop that checks
nothing. All speak to Postfix's smtp-sink, or where that is missing to ``benchmarks.sink``, a fresh one for each run;
a run counts only if the sink has received every message. Loopback first, then 64 connections through
``benchmarks.delay`` at a round trip of 20 ms. Clients take turns within a round; medians of the rounds.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import aiosmtplib

from benchmarks import round as whole_round
from benchmarks.telling import options, scratch
from service.delivery.relay import Relay, Tls
from service.delivery.relays import Relays
from service.delivery.results import Accepted
from service.delivery.throttle import LocalCounts

SENDER = "digest@papers.example"
POSTFIX = "/usr/sbin:/usr/libexec/postfix"
ROUND_TRIP = 0.020


@dataclass(frozen=True)
class Case:
    """One way of sending."""

    kilobytes: int
    connections: int
    messages: int
    far: bool = False

    def __str__(self) -> str:
        return f"{'20ms_' if self.far else ''}{self.kilobytes}kb_{self.connections}"


CASES = (
    Case(10, 1, 3_000),
    Case(10, 16, 8_000),
    Case(40, 1, 2_000),
    Case(40, 16, 4_000),
    Case(10, 64, 2_560, far=True),
    Case(40, 64, 2_560, far=True),
)
HEADLINE = CASES[1]


@dataclass(frozen=True)
class Mail:
    """An outgoing message."""

    delivery_id: int
    recipient: str
    content: bytes
    envelope_sender: str = SENDER


def content(case: Case) -> bytes:
    head = b"From: <digest@papers.example>\r\nTo: <r@example.org>\r\nSubject: Papers\r\n\r\n"
    line = b"A line of a digest, as long as quoted-printable lets it be: seventy-odd...\r\n"
    return head + line * (case.kilobytes * 1_000 // len(line))


# ---- clients ---------------------------------------------------------------------------------------------------------


def ours(port: int, case: Case) -> None:
    body = content(case)
    batch = [Mail(number, f"r{number}@example.org", body) for number in range(case.messages)]

    async def run() -> None:
        transport = Relays(
            [Relay("127.0.0.1", port, Tls.OFF)],
            connections=case.connections,
            mail_domain="papers.example",
            counts=LocalCounts(),
        )
        accepted = 0
        async for result in transport.send(batch):
            accepted += isinstance(result, Accepted)
        await transport.close()
        assert accepted == case.messages

    asyncio.run(run())


def by_smtplib(port: int, case: Case) -> None:
    body = content(case)

    def lane(first: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, "papers.example") as connection:
            for number in range(first, case.messages, case.connections):
                connection.sendmail(SENDER, [f"r{number}@example.org"], body)

    with ThreadPoolExecutor(case.connections) as pool:
        list(pool.map(lane, range(case.connections)))


def by_aiosmtplib(port: int, case: Case) -> None:
    body = content(case)

    async def lane(first: int) -> None:
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1", port=port, local_hostname="papers.example", use_tls=False, start_tls=False
        )
        async with client:
            for number in range(first, case.messages, case.connections):
                await client.sendmail(SENDER, [f"r{number}@example.org"], body)

    async def run() -> None:
        await asyncio.gather(*(lane(first) for first in range(case.connections)))

    asyncio.run(run())


def by_smtp_source(port: int, case: Case) -> None:
    program = shutil.which("smtp-source") or shutil.which("smtp-source", path=POSTFIX)
    assert program is not None
    sizes = ["-l", str(case.kilobytes * 1_000), "-m", str(case.messages), "-s", str(case.connections)]
    subprocess.run([program, "-d", *sizes, "-f", SENDER, "-t", "r@example.org", f"127.0.0.1:{port}"], check=True)


class Bare(asyncio.Protocol):
    """MAIL, RCPT and DATA in one write, the next envelope behind the content; replies are counted, not understood."""

    def __init__(self, share: int, body: bytes, done: asyncio.Future[None]) -> None:
        self._left, self._body, self._done = share, body, done
        self._received, self._buffer, self._awaited = 0, b"", 2
        self._opened = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"EHLO papers.example\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\r\n")
        self._awaited -= sum(line[3:4] == b" " for line in lines)
        while self._awaited <= 0:
            self._next()

    def _next(self) -> None:
        envelope = b"MAIL FROM:<%s>\r\nRCPT TO:<r@example.org>\r\nDATA\r\n" % SENDER.encode()
        if not self._opened:
            self._opened, self._awaited = True, 3
            self._transport.write(envelope)
        elif self._left == 0:
            self._transport.write(b"QUIT\r\n")
            self._awaited = 1
            self._left = -1
        elif self._left > 0:
            self._left -= 1
            self._transport.write(self._body + envelope if self._left else self._body)
            self._awaited = 4 if self._left else 1
        else:
            self._awaited = 1
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError())


def bare(port: int, case: Case) -> None:
    body = content(case) + b".\r\n"

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ends = []
        for lane in range(case.connections):
            share = len(range(lane, case.messages, case.connections))
            ends.append(loop.create_future())
            await loop.create_connection(partial(Bare, share, body, ends[-1]), "127.0.0.1", port)
        await asyncio.gather(*ends)

    asyncio.run(run())


# ---- the far end -----------------------------------------------------------------------------------------------------


@contextmanager
def counting(port_of: Callable[[], int], arguments: list[str], folder: Path) -> Iterator[tuple[int, Callable[[], int]]]:
    port = port_of()
    log = folder / "count"
    with log.open("wb") as output:
        child = subprocess.Popen([*arguments, f"127.0.0.1:{port}", "1000"], stdout=output, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)):
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield port, lambda: max(map(int, re.findall(rb"mesg=(\d+)", log.read_bytes())), default=0)
    finally:
        child.kill()
        child.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def sink(folder: Path) -> Iterator[tuple[int, Callable[[], int]]]:
    """A fresh sink: its port, and how many messages it has received."""
    program = shutil.which("smtp-sink") or shutil.which("smtp-sink", path=POSTFIX)
    if program is not None:
        rights = ["-u", "nobody"] if os.geteuid() == 0 else []
        with counting(free_port, [program, *rights, "-c"], folder) as counted:
            yield counted
        return
    with whole_round.sink() as (port, process):
        yield port, lambda: whole_round.counted(process)["messages"]


@contextmanager
def far_away(port: int) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.delay", str(port), str(ROUND_TRIP / 2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield int(child.stdout.readline())
        finally:
            child.kill()


def rate(client: Callable[[int, Case], None], case: Case, folder: Path) -> float:
    """Messages a second, every one of them counted at the sink."""
    with sink(folder) as (port, received):
        if case.far:
            with far_away(port) as distant:
                started = time.perf_counter()
                client(distant, case)
                seconds = time.perf_counter() - started
        else:
            started = time.perf_counter()
            client(port, case)
            seconds = time.perf_counter() - started
        assert received() == case.messages, (client.__name__, received(), case)
    return case.messages / seconds


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one case, for example 10kb_16")
    wanted = parser.parse_args()
    clients = {"ours": ours, "smtplib": by_smtplib, "aiosmtplib": by_aiosmtplib, "bare": bare}
    if shutil.which("smtp-source") or shutil.which("smtp-source", path=POSTFIX):
        clients["smtp_source"] = by_smtp_source
    cases = [case for case in CASES if wanted.only in (None, str(case))]
    found: dict[tuple[str, str], list[float]] = {}
    with scratch() as folder:
        for _ in range(wanted.rounds):
            for case in cases:
                for name, client in clients.items():
                    found.setdefault((str(case), name), []).append(rate(client, case, folder))
    rates: dict[str, dict[str, float]] = {}
    for (case_name, name), values in found.items():
        rates.setdefault(case_name, {})[name] = round(median(values), 1)
    if not wanted.json:
        for case_name, figures in rates.items():
            beside = (
                f"{figures['ours'] / figures['smtplib']:.2f} x smtplib, {figures['ours'] / figures['bare']:.2f} x bare"
            )
            print(f"{case_name:14} {'  '.join(f'{name} {value:9.1f}' for name, value in figures.items())}   {beside}")
    headline = rates[str(HEADLINE) if str(HEADLINE) in rates else next(iter(rates))]
    row: dict[str, Any] = {
        "bench": "send",
        "unit": "messages/s",
        "ours": headline["ours"],
        "peer": headline["smtplib"],
        "ratio": round(headline["ours"] / headline["smtplib"], 2),
        "bare_ratio": round(headline["ours"] / headline["bare"], 2),
        "cases": rates,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
