"""Servers to send to: one that misbehaves on cue, and one real one (aiosmtpd), each in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from service.delivery.relay import Relay, Tls


@dataclass(frozen=True, slots=True)
class Message:
    """An outgoing message without a composer."""

    delivery_id: int
    content: bytes = b"Subject: Papers\r\n\r\nOne.\r\n"
    recipient: str = ""
    envelope_sender: str = "digest@papers.example"

    def __post_init__(self) -> None:
        if not self.recipient:
            object.__setattr__(self, "recipient", f"reader{self.delivery_id}@example.org")


class Act(Enum):
    """What a server does in place of answering."""

    DROP = "close the connection"
    STALL = "say nothing more"
    HALF = "half a reply, then close"
    KEEP = "keep the message and close without a word"


Answer = str | Act
Answerer = Callable[[str], Answer | None]
"""Given the command line (for ``body`` the recipient), the answer; None: the usual one."""

USUAL: Mapping[str, str] = {
    "connect": "220 sink.example ESMTP",
    "EHLO": "250-sink.example\n250-PIPELINING\n250-8BITMIME\n250-SMTPUTF8\n250 SIZE 1000000",
    "HELO": "250 sink.example",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 Go on",
    "body": "250 2.0.0 Kept",
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


@dataclass
class Sink:
    """An SMTP server that answers as told and remembers what it accepted."""

    answers: dict[str, Answer | Answerer | None] = field(default_factory=dict)
    port: int = 0
    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    """Recipient and content of every message answered 2xx."""
    commands: list[str] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    """Commands that arrived together."""
    connections: int = 0
    greatest: int = 0
    """Connections open at once, at most."""
    _open: int = 0

    @property
    def relay(self) -> Relay:
        return Relay("127.0.0.1", self.port, Tls.OFF)

    @property
    def recipients(self) -> list[str]:
        return sorted(recipient for recipient, _ in self.accepted)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.greatest = max(self.greatest, self._open)
        try:
            await self._converse(reader, writer)
        except (_Over, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        begun = False
        await self._answer(writer, "connect", "")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            verb = line.split()[0].upper()
            self.commands.append(line)
            code = await self._answer(writer, verb, line)
            if verb in ("MAIL", "RSET"):
                recipients, begun = [], verb == "MAIL" and code < 300
            elif verb == "RCPT" and code < 300 and begun:
                recipients.append(line[line.index("<") + 1 : line.rindex(">")])
            elif verb == "DATA" and code == 354:
                content = await _content(reader)
                arrived = [(recipient, content) for recipient in recipients]
                if await self._answer(writer, "body", ",".join(recipients), arrived) < 300:
                    self.accepted += arrived
                recipients = []
            elif verb == "QUIT":
                return

    async def _answer(
        self, writer: asyncio.StreamWriter, stage: str, line: str, arrived: Sequence[tuple[str, bytes]] = ()
    ) -> int:
        cue = self.answers.get(stage)
        answer = cue(line) if callable(cue) else cue
        if answer is None:
            answer = USUAL.get(stage, "502 5.5.1 What?")
        if answer is Act.DROP:
            raise _Over
        if answer is Act.KEEP:
            self.accepted += arrived
            raise _Over
        if answer is Act.STALL:
            await asyncio.sleep(60)
            raise _Over
        if answer is Act.HALF:
            writer.write(b"250-2.0.0 Ke")
            await writer.drain()
            raise _Over
        assert isinstance(answer, str)
        writer.write(answer.replace("\n", "\r\n").encode() + b"\r\n")
        await writer.drain()
        if answer.startswith("421"):
            raise _Over
        return int(answer[:3])


class _Over(Exception):  # ends a conversation, is no error
    pass


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line:
            raise _Over
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)


def nth(number: int, answer: Answer) -> Answerer:
    """``answer`` to the ``number``-th asking only (from 1)."""
    count = 0

    def answerer(_line: str) -> Answer | None:
        nonlocal count
        count += 1
        return answer if count == number else None

    return answerer


def every(number: int, answer: Answer) -> Answerer:
    """``answer`` to each ``number``-th asking."""
    count = 0

    def answerer(_line: str) -> Answer | None:
        nonlocal count
        count += 1
        return answer if count % number == 0 else None

    return answerer


def whenever(part: str, answer: Answer) -> Answerer:
    """``answer`` to every line that holds ``part``."""
    return lambda line: answer if part in line else None


def without(*extensions: str) -> str:
    """The usual EHLO answer less some extensions."""
    lines = [line for line in USUAL["EHLO"].split("\n") if not line[4:].startswith(extensions)]
    return "\n".join(f"250{' ' if line is lines[-1] else '-'}{line[4:]}" for line in lines)


@contextmanager
def sink(**answers: Answer | Answerer | None) -> Iterator[Sink]:
    """A running :class:`Sink`."""
    server = Sink(dict(answers))
    with _threaded(lambda: asyncio.start_server(server.converse, "127.0.0.1", 0, limit=2**20)) as port:
        server.port = port
        yield server


@dataclass
class Kept:
    """What a real server holds, and how to reach it."""

    port: int = 0
    mails: list[tuple[str, str, bytes, list[str]]] = field(default_factory=list)
    """Sender, recipient, content, MAIL parameters."""

    async def handle_EHLO(  # noqa: N802 (aiosmtpd names its hooks by the command)
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", *responses[1:]]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        for recipient in envelope.rcpt_tos:
            self.mails.append(
                (envelope.mail_from or "", recipient, envelope.original_content or b"", envelope.mail_options)
            )
        return "250 2.0.0 Kept"


@contextmanager
def aiosmtpd(
    *, tls: ssl.SSLContext | None = None, implicit: bool = False, login: tuple[str, str] | None = None,
    exclude: tuple[str, ...] = (), utf8: bool = True,
) -> Iterator[Kept]:  # fmt: skip
    """aiosmtpd, with STARTTLS or TLS when given a context, asking for a login when given one."""
    kept = Kept()

    def authenticate(_s: SMTP, _n: Session, _e: Envelope, _mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == login, handled=False)

    def conversation() -> SMTP:
        return SMTP(
            kept,
            enable_SMTPUTF8=utf8,
            hostname="sink.example",
            tls_context=None if implicit else tls,
            authenticator=authenticate if login else None,
            auth_required=login is not None,
            auth_require_tls=tls is not None and not implicit,
            auth_exclude_mechanism=exclude,
        )

    async def start() -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(conversation, "127.0.0.1", 0, ssl=tls if implicit else None)

    with _threaded(start) as port:
        kept.port = port
        yield kept


@contextmanager
def _threaded(start: Callable[[], Coroutine[Any, Any, asyncio.Server]]) -> Iterator[int]:
    @asynccontextmanager
    async def serving() -> AsyncIterator[int]:
        server = await start()
        yield server.sockets[0].getsockname()[1]
        server.close()

    with in_thread(serving) as port:
        yield port


@contextmanager
def in_thread(serving: Callable[[], AbstractAsyncContextManager[int]]) -> Iterator[int]:
    """What serves on a port while its context lasts, in a thread and a loop of its own; the port."""
    ready = threading.Event()
    ends: dict[str, Any] = {}

    async def serve() -> None:
        async with serving() as port:
            ends.update(port=port, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            ready.set()
            await ends["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield ends["port"]
    finally:
        ends["loop"].call_soon_threadsafe(ends["stop"].set)
        thread.join(5)


@contextmanager
def serving(conversation: Callable[[], SMTP]) -> Iterator[int]:
    """An SMTP server of a test's own making; its port."""

    async def start() -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(conversation, "127.0.0.1", 0)

    with _threaded(start) as port:
        yield port
