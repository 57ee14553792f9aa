"""The local mailbox: an SMTP server on this machine that keeps every mail, so that a laptop needs no relay.

Embedded mode only. It listens on the loopback address, takes mail for anyone and sends none on. ``paperround up`` runs
it as a process; a lone command that sends runs one for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from service.delivery import local
from service.delivery.maildir import Maildir, MailNotFoundError, OpenedMail, StoredMail
from service.settings import Settings

__all__ = ["MailNotFoundError", "Mailbox", "OpenedMail", "StoredMail"]

log = structlog.get_logger(__name__)

_READY_SECONDS = 10.0


class Mailbox:
    """What the mailbox in ``folder`` holds. Reading needs no running server."""

    def __init__(self, folder: Path) -> None:
        self._maildir = Maildir(folder)

    @classmethod
    def of(cls, settings: Settings) -> Mailbox:
        """The mailbox of this data folder."""
        return cls(settings.home / "mailbox")

    def messages(self, limit: int = 200, offset: int = 0) -> list[StoredMail]:
        """Newest first."""
        return self._maildir.listing(limit, offset)

    def count(self) -> int:
        return len(self._maildir.keys())

    def get(self, key: str) -> OpenedMail:
        """One mail with its text and HTML. Raises :class:`MailNotFoundError`."""
        return self._maildir.open(key)

    def clear(self) -> int:
        """Delete every mail; how many there were."""
        return self._maildir.clear()

    @staticmethod
    def serve_forever(settings: Settings, port: int = 0) -> None:
        """Take mail until SIGTERM or SIGINT; 0: any free port. Main thread only. Raises OSError for a taken port."""
        asyncio.run(_serve_until_signal(settings, port))

    @staticmethod
    @contextmanager
    def running(settings: Settings) -> Iterator[None]:
        """Within, the local mailbox answers where it is needed: joined if it runs already, else run by this process.

        Does nothing when the settings name a relay or a database server.
        """
        if settings.smtp_url is not None or not settings.embedded or local.running_port(settings.home) is not None:
            yield
            return
        server = _ThreadedServer(settings)
        server.start()
        try:
            yield
        finally:
            server.stop()


class _Handler:
    """What aiosmtpd asks of a server's owner."""

    def __init__(self, maildir: Maildir) -> None:
        self._maildir = maildir

    async def handle_EHLO(  # noqa: N802 (aiosmtpd names its hooks by the command)
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # aiosmtpd answers grouped commands one by one and in order, which is all that PIPELINING promises.
        return [responses[0], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *responses[1:]]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        try:
            for recipient in envelope.rcpt_tos:
                self._maildir.store(envelope.mail_from or "", recipient, content)
        except OSError as error:
            log.error("mailbox.not_stored", error=type(error).__name__)
            return f"451 4.3.0 cannot be written: {error.strerror}"
        return "250 2.0.0 kept"


async def _listen(settings: Settings, port: int) -> asyncio.Server:
    """Start taking mail, and say where in the port file."""
    # aiosmtpd logs each command, addresses included.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    maildir = Maildir(settings.home / "mailbox")
    maildir.prepare()
    handler = _Handler(maildir)
    ident = local.ident(settings.home)

    def conversation() -> SMTP:
        return SMTP(handler, enable_SMTPUTF8=True, hostname="localhost", ident=ident)

    server = await asyncio.get_running_loop().create_server(conversation, "127.0.0.1", port)
    local.announce(settings.home, _port(server))
    log.info("mailbox.ready", port=_port(server))
    return server


async def _serve_until_signal(settings: Settings, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await _listen(settings, port)
    bound = _port(server)
    try:
        await stopped.wait()
    finally:
        local.withdraw(settings.home, bound)
        server.close()


class _ThreadedServer:
    """The mailbox in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="mailbox", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(_READY_SECONDS):
            raise OSError("the local mailbox does not start: start it with `paperround up`")
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._loop is not None and self._stopped is not None:
            with suppress(RuntimeError):  # its loop has ended already
                self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_READY_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await _listen(self._settings, 0)
        except OSError as error:
            self._error = error
            self._ready.set()
            return
        bound = _port(server)
        self._ready.set()
        try:
            await self._stopped.wait()
        finally:
            local.withdraw(self._settings.home, bound)
            server.close()


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
