"""The bytes of one connection: replies come off in order, every wait has an end, and what has left is known."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from service.delivery.replies import ProtocolError, Reply, ReplyReader


class WireError(Exception):
    """The connection ended, or its time did, before the awaited reply. One line: why."""


class Wire(asyncio.Protocol):
    """One TCP connection, clear or encrypted, on which an SMTP conversation is held.

    A protocol of its own rather than streams: a reply costs no task switch when it is already here, and
    ``pause_writing`` tells whether all that was written has left this process.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._lost: WireError | None = None
        self._paused = False
        self._behind = 0
        """Bytes that may wait in this process while all that is watched has left it."""

    @classmethod
    async def connect(
        cls, host: str, port: int, *, seconds: float, tls: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> Wire:
        """Connect, encrypted from the first byte when ``tls`` is given.

        Raises OSError (``ssl.SSLError`` among them) or TimeoutError.
        """
        async with asyncio.timeout(seconds):
            _, wire = await asyncio.get_running_loop().create_connection(
                cls, host, port, ssl=tls, server_hostname=server_name if tls else None
            )
        return wire

    async def start_tls(self, context: ssl.SSLContext, server_name: str, seconds: float) -> None:
        """Encrypt from here on. Raises OSError, TimeoutError or :class:`WireError`."""
        if self._replies or not self._reader.empty:
            # Words in clear text from behind the 220 would be taken for the encrypted server's (CVE-2011-0411).
            raise WireError("clear text after STARTTLS")
        if self._transport is None or self._lost is not None:
            raise self._lost or WireError("not connected")
        async with asyncio.timeout(seconds):
            encrypted = await self._loop.start_tls(self._transport, self, context, server_hostname=server_name)
        if encrypted is None:
            raise WireError("the connection was closed during STARTTLS")
        self._transport = encrypted
        self._limit(anew=True)

    @property
    def closed(self) -> bool:
        return self._lost is not None

    @property
    def encrypted(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    def write(self, data: bytes) -> None:
        if self._transport is not None and self._lost is None:
            self._limit()
            self._transport.write(data)

    def write_before(self, data: bytes, behind: bytes) -> None:
        """Write both at once, ``data`` being what :meth:`drained` will wait for. In clear text only."""
        if self._transport is not None and self._lost is None:
            self._limit(len(behind))
            self._transport.write(data + behind)

    async def reply(self, seconds: float) -> Reply:
        """The next reply, within ``seconds``. Raises :class:`WireError`."""
        while not self._replies:
            await self._wait(seconds)
        return self._replies.popleft()

    def ready(self) -> Reply | None:
        """The next reply if it is here already: in a pipelined group all but the first are."""
        return self._replies.popleft() if self._replies else None

    async def drained(self, seconds: float) -> None:
        """Wait until all that was written (by :meth:`write_before`: its ``data``) has left this process (under TLS: has
        been encrypted).

        Raises :class:`WireError`: then part of it had not left.
        """
        while self._paused:
            await self._wait(seconds)

    async def closing(self, seconds: float) -> None:
        """Wait until the far end has closed, at most ``seconds``."""
        while self._lost is None:
            self._replies.clear()
            try:
                await self._wait(seconds)
            except WireError:
                return

    def drop(self, why: str = "closed by us") -> None:
        """End the connection at once."""
        self._fail(WireError(why))

    # ---- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (asyncio gives TCP protocols no other)
        self._transport = transport
        self._limit(anew=True)

    def data_received(self, data: bytes) -> None:
        nonsense = None
        try:
            self._replies.extend(self._reader.feed(data))
        except ProtocolError as error:
            nonsense = error
        if self._replies:
            self._wake()
        if nonsense is not None:
            self._fail(WireError(str(nonsense)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(WireError(f"connection lost ({type(exc).__name__})" if exc else "connection closed"))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    # ------------------------------------------------------------------------------------------------------------------

    def _limit(self, behind: int = 0, *, anew: bool = False) -> None:
        # With both marks at what lies behind, "paused" means exactly: not everything before it has left. Under TLS
        # asyncio pauses at the mark, not above it: with a mark of nothing, each write would pause or resume in turn.
        if self._transport is not None and (anew or behind != self._behind):
            self._behind = behind
            self._transport.set_write_buffer_limits(high=behind + self.encrypted, low=behind)

    async def _wait(self, seconds: float) -> None:
        if self._lost is not None:
            raise self._lost
        self._deadline = self._loop.time() + seconds
        if self._watch is None:
            self._watch = self._loop.call_at(self._deadline, self._check_deadline)
        elif self._watch.when() > self._deadline:
            self._watch.cancel()
            self._watch = self._loop.call_at(self._deadline, self._check_deadline)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check_deadline(self) -> None:
        # One lazy timer a connection instead of one a reply: most deadlines move on before they are reached.
        self._watch = None
        if self._waiter is None:
            return
        if self._loop.time() >= self._deadline:
            self._fail(WireError("no reply in time"))
        else:
            self._watch = self._loop.call_at(self._deadline, self._check_deadline)

    def _fail(self, why: WireError) -> None:
        if self._lost is None:
            self._lost = why
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._lost)
        if self._transport is not None:
            self._transport.abort()
