"""Listening for what comes back: SMTP (an MX, or behind one) or LMTP (behind a mail server of your own).

It takes mail only for the return domain, and there only for addresses that we signed, ``subscribe``, ``complaints``,
``abuse`` and ``postmaster``. A mail is answered with 250 only after its transaction is committed: killed before that,
the other side keeps it and comes again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Final

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy.exc import SQLAlchemyError

from service.database import Database
from service.returns.take import Outcome, TakenMail, TooMany, take_mail
from service.settings import Settings, SettingsError
from service.subscribers.return_addresses import COMPLAINTS, SUBSCRIBE, ForgedAddress, ReturnAddresses

log = structlog.get_logger(__name__)

SOURCE: Final = "inbound"
MOST_CONNECTIONS: Final = 50
MOST_RECIPIENTS: Final = 10
"""Of one mail; a bounce has one (RFC 5321, 3.6.3)."""
IDLE_SECONDS: Final = 120.0
LONGEST_CONVERSATION: Final = 100
"""Mails on one connection."""
_ROLES: Final = frozenset({SUBSCRIBE, COMPLAINTS, "abuse", "postmaster"})
"""RFC 2142 asks for the last two, RFC 5321, 4.5.1, for the last."""


class Inbound:
    """What aiosmtpd asks of a server's owner (the names of its hooks are the commands')."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._addresses = ReturnAddresses(settings)
        self._lmtp = settings.inbound_protocol == "lmtp"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Sequence[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        bare_postmaster = address.casefold() == "postmaster"
        if not bare_postmaster and not self._addresses.ours(address):
            return "550 5.7.1 no mail is taken for this domain"
        if not bare_postmaster and not self._known(address):
            return "550 5.1.1 no such address"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = await self._taken(envelope)
        # RFC 2033: in LMTP each recipient has an answer of its own.
        return "\r\n".join([answer] * len(envelope.rcpt_tos)) if self._lmtp else answer

    async def handle_exception(self, error: Exception) -> str:
        log.error("inbound.broken", error=type(error).__name__)
        return "451 4.3.0 try again later"

    def _known(self, address: str) -> bool:
        if address.rpartition("@")[0].casefold() in _ROLES:
            return True
        try:
            self._addresses.read(address)
        except ForgedAddress:
            return False
        return True

    async def _taken(self, envelope: Envelope) -> str:
        # aiosmtpd writes the null path as it was given.
        sender = (envelope.mail_from or "").strip("<>")
        work = partial(
            take_mail,
            self._database,
            self._settings,
            envelope.original_content or b"",
            source=SOURCE,
            recipients=tuple(envelope.rcpt_tos),
            sender=sender,
        )
        try:
            taken: TakenMail = await asyncio.to_thread(work)
        except TooMany as error:
            return f"451 4.7.1 {error}: try again later"
        except SQLAlchemyError as error:
            log.warning("inbound.database_away", error=type(error).__name__)
            return "451 4.3.0 try again later"
        log.info("inbound.mail", outcome=taken.outcome.value, why=taken.why)
        # A person hears that nobody reads this; a bounce is never bounced (RFC 5321, 4.5.5).
        if taken.outcome is Outcome.UNKNOWN and sender:
            return "550 5.7.1 this address takes reports and requests only, nobody reads it"
        return "250 2.0.0 taken"


class _Conversation(SMTP):
    """aiosmtpd's, with a limit on how many there are at once."""

    open_now: ClassVar[set[int]] = set()
    _turned_away = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called again, for the same conversation, when STARTTLS has put encryption below it."""
        known = id(self) in self.open_now
        if not known and len(self.open_now) >= MOST_CONNECTIONS and isinstance(transport, asyncio.Transport):
            transport.write(b"421 4.3.2 too many connections, try again later\r\n")
            transport.close()
            self._turned_away = True
            return
        self.open_now.add(id(self))
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._turned_away:
            return
        self.open_now.discard(id(self))
        super().connection_lost(error)


class _LocalConversation(LMTP, _Conversation):
    """The same in LMTP."""


@asynccontextmanager
async def listening(
    database: Database, settings: Settings, *, host: str | None = None, port: int | None = None
) -> AsyncIterator[int]:
    """Within, mail is taken; the port. Raises SettingsError without a return domain, OSError for a taken port."""
    if not settings.return_domain:
        raise SettingsError(
            "PAPERROUND_RETURN_DOMAIN is missing: name the domain whose mail comes here, as docs/returns.md tells"
        )
    encryption = _encryption(settings)
    # aiosmtpd logs each command, addresses included.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    inbound = Inbound(database, settings)
    kind: type[Any] = _LocalConversation if settings.inbound_protocol == "lmtp" else _Conversation

    def conversation() -> SMTP:
        return kind(  # type: ignore[no-any-return]  # aiosmtpd publishes no types
            inbound,
            data_size_limit=settings.inbound_largest_bytes,
            hostname=settings.return_domain,
            ident="Paperround",
            timeout=IDLE_SECONDS,
            enable_SMTPUTF8=True,
            tls_context=encryption,
            command_call_limit={"DATA": LONGEST_CONVERSATION, "*": 4 * LONGEST_CONVERSATION},
        )

    server = await asyncio.get_running_loop().create_server(
        conversation, host or settings.inbound_host, settings.inbound_port if port is None else port
    )
    bound = int(server.sockets[0].getsockname()[1])
    log.info("inbound.ready", port=bound, protocol=settings.inbound_protocol)
    try:
        yield bound
    finally:
        server.close()


def _encryption(settings: Settings) -> ssl.SSLContext | None:
    if settings.inbound_tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.inbound_tls_certificate)
    except OSError as error:
        raise SettingsError(
            f"PAPERROUND_INBOUND_TLS_CERTIFICATE cannot be used ({error.strerror or type(error).__name__}): name a PEM"
            " file with the chain and its key"
        ) from error
    return context


def serve_forever(database: Database, settings: Settings) -> None:
    """Take mail until SIGTERM or SIGINT. Main thread only. Raises as :func:`listening`."""
    asyncio.run(_until_signal(database, settings))


async def _until_signal(database: Database, settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with listening(database, settings):
        await stopped.wait()
