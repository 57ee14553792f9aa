"""The SMTP transport: a pool of connections that share one feed, so that a batch fans out by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from math import inf

import structlog

from service import tracing
from service.delivery.handshake import Timeouts, name_of
from service.delivery.relay import Relay
from service.delivery.replies import Reply
from service.delivery.results import Outgoing, Record, RelayDown, Result, Unsent
from service.delivery.smtp import Connection, Job

log = structlog.get_logger(__name__)

IDLE_SECONDS = 10.0
"""A connection without work is ended after this long; relays end it after some minutes themselves."""
FRUITLESS_BORNE = 3
"""Conversations in a row that broke off before any message was answered; then the relay counts as down."""
MESSAGES_PER_CONNECTION = 500


@dataclass(slots=True, eq=False)
class _PooledJob(Job):
    batch: _Batch | None = None


class _Batch:
    """The results of one :meth:`SmtpTransport.send`, as they come."""

    def __init__(self, size: int, record: Record | None) -> None:
        self.open = size
        self.record = record
        self._results: list[Result] = []
        self._waiter: asyncio.Future[None] | None = None

    def add(self, result: Result) -> None:
        self._results.append(result)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next_results(self) -> list[Result]:
        if not self._results:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        results, self._results = self._results, []
        self.open -= len(results)
        return results


class SmtpTransport:
    """Sends through one relay over up to ``connections`` connections, opened as there is work for them.

    A relay that lets in fewer gets fewer. ``send`` may run several times at once; all share the connections. Use from
    one event loop. Once the relay is down, so is the transport: make a new one to try again.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        connections: int,
        mail_domain: str,
        timeouts: Timeouts | None = None,
        messages_per_connection: int = MESSAGES_PER_CONNECTION,
    ) -> None:
        self._relay = relay
        self._limit = connections
        self._our_name = name_of(mail_domain)
        self._timeouts = timeouts or Timeouts()
        self._messages_per_connection = messages_per_connection
        self._pending: deque[Job] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._connections = 0
        """Open or being opened."""
        self._fruitless = 0
        self._down: Exception | None = None
        self._closing = False
        self._context = copy_context()
        """A connection outlives the batch for which it is opened: its span belongs to whoever made the transport."""

    async def send(
        self, batch: Sequence[Outgoing], *, latest: float | None = None, record: Record | None = None
    ) -> AsyncGenerator[Result, None]:
        """Yield one result for each message as it becomes known; see ``results``.

        Raises :class:`RelayDown` after the last result when the relay could take no more.
        """
        state = _Batch(len(batch), record)
        jobs = [_PooledJob(message, inf if latest is None else latest, batch=state) for message in batch]
        self._pending += jobs
        self._staff()
        try:
            while state.open:
                for result in await state.next_results():
                    yield result
        finally:
            if state.open:
                # Nobody listens any more: what has not left stays here.
                for job in jobs:
                    job.latest = -inf
        if self._down is not None:
            raise self._down

    async def close(self) -> None:
        """QUIT on every connection and wait for the ends."""
        self._closing = True
        self._wake(len(self._idle))
        while self._workers:
            await asyncio.wait(self._workers)

    # ---- what a connection sees (smtp.Feed) --------------------------------------------------------------------------

    async def wait(self) -> Job | None:
        while not self._pending and not self._closing and self._down is None:
            future = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await future
            except TimeoutError:
                return None
            finally:
                if future in self._idle:
                    self._idle.remove(future)
        return self.take()

    def take(self) -> Job | None:
        return self._pending.popleft() if self._pending else None

    def give_back(self, job: Job) -> None:
        self._pending.append(job)

    def report(self, job: Job, result: Result) -> None:
        if (batch := _batch_of(job)) is not None:
            batch.add(result)

    def begun(self, job: Job) -> None:
        if (batch := _batch_of(job)) is not None and batch.record is not None:
            batch.record.begun(job.message.delivery_id)

    def accepted(self, job: Job, reply: Reply) -> None:
        if (batch := _batch_of(job)) is not None and batch.record is not None:
            batch.record.accepted(job.message.delivery_id, reply.summary)

    def void(self, job: Job) -> None:
        if (batch := _batch_of(job)) is not None and batch.record is not None:
            batch.record.void(job.message.delivery_id)

    # ------------------------------------------------------------------------------------------------------------------

    def _staff(self) -> None:
        """See to it that what is pending is worked on."""
        if self._down is not None:
            self._return_pending(str(self._down))
            return
        woken = self._wake(len(self._pending))
        for _ in range(min(self._limit - len(self._workers), len(self._pending) - woken)):
            worker = asyncio.create_task(self._work(), context=self._context.copy())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _wake(self, wanted: int) -> int:
        """Call up to ``wanted`` idle connections back to work; how many came."""
        woken = 0
        while self._idle and woken < wanted:
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)
                woken += 1
        return woken

    def _left(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._give_up(error if isinstance(error, Exception) else RuntimeError("interrupted"))
        elif self._pending and not self._workers and not worker.cancelled():
            self._staff()

    async def _work(self) -> None:
        """Hold conversations with the relay as long as there is something to say."""
        while self._pending and self._down is None:
            self._connections += 1
            try:
                connection = await self._conversation()
            finally:
                self._connections -= 1
            if connection is None:
                return
            if connection.answered or connection.broken is None:
                self._fruitless = 0
                continue
            self._fruitless += 1
            if self._fruitless >= FRUITLESS_BORNE:
                raise RelayDown(
                    f"the relay {self._relay} breaks off every conversation ({connection.broken}): look at its logs"
                )

    async def _conversation(self) -> Connection | None:
        """One connection from its beginning to its end; None where the relay wants no more of them from us."""
        with tracing.span("smtp connection", self._relay.described, kind=tracing.Kind.CLIENT) as span:
            connection = await self._open()
            if connection is not None:
                await connection.serve(self, self._messages_per_connection)
                span.tell({"paperround.messages": connection.answered})
                if connection.broken is not None:
                    span.fail("broken off")
        return connection

    async def _open(self) -> Connection | None:
        """A connection; None where the relay wants no more of them from us. Raises :class:`RelayDown`."""
        try:
            return await Connection.open(self._relay, self._our_name, self._timeouts)
        except RelayDown as error:
            others = self._connections - 1
            if not others:
                raise
            # Some of the others may be let in; the last to be turned away knows better.
            self._limit = others
            log.info("smtp.fewer_connections", relay=str(self._relay), connections=others, reason=str(error))
            return None

    def _give_up(self, error: Exception) -> None:
        if self._down is None:
            self._down = error
        self._return_pending(str(error))
        self._wake(len(self._idle))

    def _return_pending(self, why: str) -> None:
        while self._pending:
            job = self._pending.popleft()
            self.report(job, Unsent(job.message.delivery_id, why))


def _batch_of(job: Job) -> _Batch | None:
    return job.batch if isinstance(job, _PooledJob) else None
