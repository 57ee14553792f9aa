"""Messages over one SMTP connection, pipelined where the relay offers it (RFC 2920), else step by step.

Pipelined, MAIL, RCPT and DATA go out in one write, and the next message's three behind the content of the one before,
so that a message costs one round trip. Every reply is read all the same. What a broken connection leaves is exact:

- before its content had left, a message was not attempted and goes back to the feed;
- after its final dot and before the reply, that one message is :class:`Uncertain`;
- a message whose envelope travelled behind it was not attempted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Protocol, Self

from service import tracing
from service.delivery.envelope import EnvelopeError, commands, stuffed
from service.delivery.handshake import Capabilities, Timeouts, open_wire
from service.delivery.relay import Relay
from service.delivery.replies import Reply, Stage, Verdict, judge
from service.delivery.results import Accepted, Deferred, Outgoing, Rejected, RelayDown, Result, Uncertain, Unsent
from service.delivery.wire import Wire, WireError

BREAKS_BORNE = 2
"""Connections that may break over one message before its content left; then it is deferred, for it may be why."""
TOLD_ONE_IN: Final = 100
"""Of the messages that a connection's relay accepts, those that have a span of their own; of refused ones each."""


@dataclass(slots=True, eq=False)
class Job:
    """A message on its way through a transport."""

    message: Outgoing
    latest: float
    """``time.monotonic()`` after which its content may not leave."""
    breaks: int = 0
    began: int = 0
    """When its envelope was written, as ``tracing.clock`` says; 0: nobody asks."""


class Feed(Protocol):
    """Where a connection gets its messages and tells what became of them."""

    async def wait(self) -> Job | None:
        """The next message; None: no more for this connection."""

    def take(self) -> Job | None:
        """The next message if one is here now."""

    def give_back(self, job: Job) -> None:
        """Not attempted; it may go by another connection."""

    def report(self, job: Job, result: Result) -> None: ...

    def begun(self, job: Job) -> None:
        """Its content leaves next. Raises :class:`CannotRecord`: then it must not."""

    def accepted(self, job: Job, reply: Reply) -> None:
        """The relay has taken it; nothing has been read from the relay since."""

    def void(self, job: Job) -> None:
        """Begun, but the relay does not have it."""


class _ClosingError(Exception):
    """Nothing more on this connection, and no message is to blame."""


class _OverdueError(Exception):
    """Too late to send the content that the relay awaits: only hanging up is left."""


class Connection:
    """An open connection to a relay."""

    def __init__(self, relay: Relay, wire: Wire, capabilities: Capabilities, timeouts: Timeouts) -> None:
        self._relay = relay
        self._wire = wire
        self._capabilities = capabilities
        self._timeouts = timeouts
        self._open: Job | None = None
        """The message whose envelope is before the relay and whose content has not left."""
        self._remaining = 0
        self._reset_due = False
        """A refused transaction is to be ended by RSET before the next MAIL."""
        self._stuffed: bytes | None = None
        """The content of the open message, if it is ready for the wire already."""
        self.answered = 0
        """Messages the relay gave an answer of their own."""
        self.broken: str | None = None
        """Why the relay ended the conversation before its end; None: it did not."""

    @classmethod
    async def open(cls, relay: Relay, our_name: str, timeouts: Timeouts) -> Self:
        """Raises :class:`RelayDown`."""
        wire, capabilities = await open_wire(relay, our_name, timeouts)
        return cls(relay, wire, capabilities, timeouts)

    async def serve(self, feed: Feed, limit: int) -> None:
        """Send what the feed holds, at most ``limit`` messages, then QUIT; every message taken is accounted for.

        Returns also when the connection broke or the relay closed it. Raises :class:`RelayDown` when the relay does
        not work for us at all.
        """
        self._remaining = limit
        try:
            while (job := self._open or await self._begin(feed)) is not None:
                if await self._envelope_taken(feed, job):
                    await self._send_content(feed, job)
            await self._quit()
        except WireError as error:
            self.broken = str(error)
            self._blame(feed)
        except _ClosingError as error:
            self.broken = str(error)
        except _OverdueError:
            pass
        finally:
            if self._open is not None:
                feed.give_back(self._open)
                self._open = None
            self._wire.drop()

    # ---- one message -------------------------------------------------------------------------------------------------

    async def _begin(self, feed: Feed) -> Job | None:
        """Wait for a message and put its envelope before the relay."""
        while self._open is None:
            job = await feed.wait() if self._remaining else None
            if job is None:
                return None
            if self._wire.closed:
                feed.give_back(job)
                raise _ClosingError("closed while idle")
            if envelope := self._envelope(feed, job):
                self._wire.write(envelope)
        return self._open

    def _envelope(self, feed: Feed, job: Job) -> bytes:
        """The commands that open ``job``, which becomes the open one; nothing when it cannot be sent."""
        if time.monotonic() > job.latest:
            feed.report(job, Unsent(job.message.delivery_id, "its time for sending ran out"))
            return b""
        try:
            mail, recipient = commands(job.message, self._capabilities)
        except EnvelopeError as error:
            feed.report(job, Rejected(job.message.delivery_id, str(error)))
            return b""
        self._open = job
        job.began = tracing.clock()
        self._remaining -= 1
        group = b"RSET\r\n" + mail if self._reset_due else mail
        return group + recipient + b"DATA\r\n" if self._capabilities.pipelining else group

    def _envelope_ahead(self, feed: Feed) -> bytes:
        """The next message's envelope, to travel behind the content of this one."""
        while self._capabilities.pipelining and self._remaining and (job := feed.take()) is not None:
            if envelope := self._envelope(feed, job):
                return envelope
        return b""

    async def _envelope_taken(self, feed: Feed, job: Job) -> bool:
        """Read the answers to the envelope; whether the content is awaited now. A refused message is settled."""
        if self._reset_due:
            self._reset_due = False
            if (await self._reply()).code != 250:
                raise _ClosingError("RSET refused")
        refused = False
        for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA):
            if not self._capabilities.pipelining and stage is not Stage.MAIL:
                if refused:
                    break
                self._wire.write(b"DATA\r\n" if stage is Stage.DATA else commands(job.message, self._capabilities)[1])
            reply = self._wire.ready() or await self._reply()
            verdict = judge(stage, reply)
            if refused and reply.code == 354:
                # The relay wants a message although nobody would get it: end it empty (RFC 2920 §3.1).
                self._wire.write(b".\r\n")
                await self._wire.reply(self._timeouts.content)
                return False
            if not refused and verdict is not Verdict.GO_ON:
                self._settle(feed, job, stage, reply, verdict)
                self._open = self._stuffed = None
                refused = True
        self._reset_due = refused
        return not refused

    async def _send_content(self, feed: Feed, job: Job) -> None:
        if time.monotonic() > job.latest:
            feed.report(job, Unsent(job.message.delivery_id, "its time for sending ran out"))
            self._open = None
            raise _OverdueError
        if self._wire.closed:
            raise WireError("closed before the message was sent")
        content = self._stuffed if self._stuffed is not None else stuffed(job.message.content)
        self._stuffed = None
        feed.begun(job)
        if self._wire.encrypted:
            await self._watched_out(feed, job, content, b"")
            self._open = None
            self._wire.write(self._envelope_ahead(feed))
        else:
            self._open = None
            await self._watched_out(feed, job, content, self._envelope_ahead(feed))
        try:
            self._make_ready()
            reply = await self._wire.reply(self._timeouts.content)
            if 300 <= reply.code < 400:
                raise WireError("a question in place of an answer")
        except WireError as error:
            feed.report(job, Uncertain(job.message.delivery_id, f"sent, but no answer came: {error}"))
            raise _ClosingError(str(error)) from None
        except BaseException:
            feed.report(job, Uncertain(job.message.delivery_id, "sent, and interrupted before an answer came"))
            raise
        verdict = judge(Stage.BODY, reply)
        if verdict is Verdict.GO_ON:
            feed.accepted(job, reply)
            if job.began and self.answered % TOLD_ONE_IN == 0:
                self._tell(job, Stage.BODY, reply)
            self.answered += 1
            feed.report(job, Accepted(job.message.delivery_id, reply.summary))
            return
        feed.void(job)
        try:
            self._settle(feed, job, Stage.BODY, reply, verdict)
        except (_ClosingError, RelayDown):
            feed.give_back(job)
            raise

    def _make_ready(self) -> None:
        """The next content, while the relay is busy with the one before."""
        if self._open is not None:
            self._stuffed = stuffed(self._open.message.content)

    async def _watched_out(self, feed: Feed, job: Job, content: bytes, ahead: bytes) -> None:
        """Write ``content`` and ``ahead`` in one go and see the content out of the door. Raises :class:`WireError`: not
        all of it had left; ``job`` is the open one again, and what was to follow it goes back to the feed."""
        self._wire.write_before(content, ahead)
        try:
            await self._wire.drained(self._timeouts.content)
        except BaseException as error:
            if isinstance(error, WireError):
                feed.void(job)
            if self._open is not None and self._open is not job:
                feed.give_back(self._open)
            self._open = job
            raise

    def _settle(self, feed: Feed, job: Job, stage: Stage, reply: Reply, verdict: Verdict) -> None:
        """Report a refused message. Raises where the refusal is not about the message, which then stays open."""
        if verdict is Verdict.BUSY:
            raise _ClosingError(f"{reply.codes} at {stage}")
        if verdict is Verdict.REFUSED:
            raise RelayDown(
                f"the relay {self._relay} refuses us ({reply.codes} at {stage}): check PAPERROUND_FROM and the login"
            )
        self.answered += 1
        self._tell(job, stage, reply)
        if verdict is Verdict.DEFER:
            feed.report(job, Deferred(job.message.delivery_id, reply.summary))
        else:
            bad_address = reply.codes if verdict is Verdict.BOUNCE else None
            feed.report(job, Rejected(job.message.delivery_id, reply.summary, bad_address))

    def _tell(self, job: Job, stage: Stage, reply: Reply) -> None:
        """Its span. The codes alone: a reply's words often repeat the address."""
        if job.began:
            about = self._relay.described | {
                "paperround.delivery": job.message.delivery_id,
                "paperround.bytes": len(job.message.content),
                "paperround.smtp.stage": str(stage),
                "paperround.smtp.reply": reply.codes,
            }
            failed = None if reply.positive else str(reply.code)
            tracing.past("smtp message", job.began, about, kind=tracing.Kind.CLIENT, failed=failed)

    def _blame(self, feed: Feed) -> None:
        """The connection broke over the open message: it gets another chance, but not for ever."""
        job = self._open
        if job is None:
            return
        job.breaks += 1
        if job.breaks >= BREAKS_BORNE:
            self._open = None
            feed.report(job, Deferred(job.message.delivery_id, f"not sent: {self.broken}"))

    async def _reply(self) -> Reply:
        return await self._wire.reply(self._timeouts.command)

    async def _quit(self) -> None:
        self._wire.write(b"QUIT\r\n")
        await self._wire.closing(self._timeouts.quit)
