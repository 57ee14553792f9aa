"""Sending what is due in the outbox.

The steps for one claim of rows, and what a crash after each leaves:

1. Claim rows: one UPDATE, leased to this run. A crash: the lease ends and the sweep puts them back.
2. Compose. Whoever is no longer entitled is cancelled; a message that cannot be made fails alone.
3. In portions: look at the readers once more, so that an unsubscribe a second ago wins.
4. Hand the portion to the transport, which tells the journal of every message before it leaves and when it is taken. A
   crash between a message's acceptance and step 5: the journal knows it. Only an answer that was on the wire is open;
   that message is uncertain and follows the setting.
5. Settle the portion in bulk.

No content leaves whose answer could come after the lease ends, so two senders never have one message in hand.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat

import structlog
from sqlalchemy.exc import OperationalError

from service import tracing
from service.database import Database
from service.database.tables import DeliveryState
from service.delivery import dkim
from service.delivery.composing import Composes, compose
from service.delivery.decisions import Decisions
from service.delivery.handshake import Timeouts
from service.delivery.journal import Journal
from service.delivery.recheck import Recheck, recheck
from service.delivery.recovery import inherit, journals_folder
from service.delivery.relays import Relays
from service.delivery.results import CannotRecord, RelayDown, Transport
from service.mails.compose import Composed, Composer
from service.outbox import pause, rows
from service.outbox.claims import Claim, Outcome
from service.settings import Settings, SettingsError
from service.subscribers import returned

log = structlog.get_logger(__name__)

LANES = 2
"""Claims worked on at once: while one waits for the database, the other keeps the connections busy."""
PORTION = 100
"""Deliveries between the last look at their readers and the wire."""
SETTLING_SECONDS = 60.0
"""How long a database that went away is waited for with results in hand: lost, they would be mailed twice."""


@dataclass(frozen=True, slots=True)
class SendReport:
    """What one :func:`send_due` did, in deliveries."""

    sent: int = 0
    deferred: int = 0
    failed: int = 0
    cancelled: int = 0
    uncertain: int = 0
    paused: bool = False
    """The relay could not be used: what is due waits in the queue, no attempt counted."""
    reason: str = ""
    """With ``paused``: one line, with the remedy."""


def send_due(
    database: Database,
    settings: Settings,
    *,
    on_progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
    insist: bool = False,
    composer: Composes | None = None,
    transport: Transport | None = None,
) -> SendReport:
    """Send until nothing is due or the relay cannot be used. Safe to run any number of times at once, anywhere.

    ``on_progress`` hears how many deliveries have been settled so far. ``now`` stands in for the clock in choosing
    what is due. ``insist``: try the relay although a pause (``outbox.pause``) lasts. ``composer`` and ``transport``
    replace those the settings describe; a given transport stays open.

    Raises :class:`sqlalchemy.exc.SQLAlchemyError` when the database fails; rows in hand come back with their lease.
    """
    inherit(database, settings, now=now)
    if not rows.due(database, limit=1, now=now):
        return SendReport()
    standing = pause.current(database)
    if standing is not None and not insist and not standing.over(now or datetime.now(UTC)):
        return SendReport(paused=True, reason=standing.reason)
    with tracing.span("send") as span:
        report = asyncio.run(_send_due(database, settings, on_progress, now, composer, transport))
        counts = ("sent", "deferred", "failed", "cancelled", "uncertain", "paused")
        span.tell({f"paperround.{each}": getattr(report, each) for each in counts})
    return report


def timeouts_of(settings: Settings) -> Timeouts:
    """How long to wait for the relay: never so long for an answer to content that the lease ends before it."""
    seconds = settings.smtp_timeout_seconds
    return Timeouts(connect=min(seconds, 30.0), command=seconds, content=min(seconds, settings.lease_seconds / 4))


def sending_seconds(settings: Settings) -> float:
    """Of a lease, those in which content may leave: after it come its own way out, its answer, and settling."""
    return settings.lease_seconds * 0.9 - 2 * timeouts_of(settings).content


async def _send_due(
    database: Database,
    settings: Settings,
    on_progress: Callable[[int], None] | None,
    now: datetime | None,
    composer: Composes | None,
    transport: Transport | None,
) -> SendReport:
    try:
        signer = dkim.configured(settings)
        used = transport or Relays.configured(settings, timeouts_of(settings))
    except (RelayDown, SettingsError) as error:
        log.warning("send.paused", reason=str(error))
        return SendReport(paused=True, reason=str(error))
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    finished = False
    try:
        journal = Journal(journals_folder(settings), owner)
    except CannotRecord as error:
        log.warning("send.paused", reason=str(error))
        return SendReport(paused=True, reason=str(error))
    run = _Run(database, settings, used, journal, composer or Composer(settings), signer, on_progress, now)
    try:
        ends = await asyncio.gather(*(run.lane() for _ in range(LANES)), return_exceptions=True)
        finished = not any(isinstance(end, BaseException) for end in ends)
    finally:
        if transport is None:
            await used.close()
        journal.close(finished=finished)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return run.report()


class _Run:
    """One :func:`send_due`: its lanes share a transport, the name its leases are in, and the counts."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        transport: Transport,
        journal: Journal,
        composer: Composes,
        signer: dkim.Signer | None,
        on_progress: Callable[[int], None] | None,
        now: datetime | None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._transport = transport
        self._composer = composer
        self._signer = signer
        self._on_progress = on_progress
        self._now = now
        self._journal = journal
        self._owner = journal.owner
        self._decisions = Decisions(settings.attempts_limit, lambda: now or datetime.now(UTC))
        self._counts = dict.fromkeys(DeliveryState, 0)
        self._paused: str | None = None
        self._proven = False
        """The relay has taken somebody's mail, so a pause from before is over."""
        self._broken = False

    def report(self) -> SendReport:
        return SendReport(
            sent=self._counts[DeliveryState.SENT],
            deferred=self._counts[DeliveryState.DEFERRED],
            failed=self._counts[DeliveryState.FAILED],
            cancelled=self._counts[DeliveryState.CANCELLED],
            uncertain=self._counts[DeliveryState.UNCERTAIN],
            paused=self._paused is not None,
            reason=self._paused or "",
        )

    async def lane(self) -> None:
        """Claim and send until nothing is due, the relay is down, or the other lane has broken."""
        lease = timedelta(seconds=self._settings.lease_seconds)
        try:
            while not self._stopping:
                latest = time.monotonic() + sending_seconds(self._settings)
                with tracing.span("claim") as span:
                    claims = await asyncio.to_thread(
                        rows.claim,
                        self._database,
                        owner=self._owner,
                        limit=self._settings.send_batch,
                        lease=lease,
                        now=self._now,
                    )
                    span.tell({"paperround.deliveries": len(claims)})
                if not claims:
                    return
                with tracing.span("send batch", _deliveries([claim.delivery_id for claim in claims])):
                    await self._send(claims, latest)
        except BaseException:
            self._broken = True
            raise

    @property
    def _stopping(self) -> bool:
        return self._broken or self._paused is not None

    async def _send(self, claims: Sequence[Claim], latest: float) -> None:
        """Steps 2 to 5 for one claim of rows; whatever happens, those not attempted are given back."""
        self._decisions.begin(claims)
        try:
            with tracing.span("compose") as span:
                composed, outcomes = await asyncio.to_thread(
                    compose, self._database, self._composer, claims, self._signer
                )
                span.tell({"paperround.deliveries": len(composed), "paperround.withheld": len(outcomes)})
            self._decisions.decide(outcomes)
            for start in range(0, len(composed), PORTION):
                if self._stopping or time.monotonic() > latest:
                    break
                await self._send_portion(composed[start : start + PORTION], latest)
                await self._settle()
        finally:
            self._decisions.finish(claims)
            await self._settle()

    async def _send_portion(self, portion: Sequence[Composed], latest: float) -> None:
        """Steps 3 and 4."""
        ids = [message.delivery_id for message in portion]
        seen = await asyncio.to_thread(self._look_again, ids)
        self._decisions.decide(Outcome(each, DeliveryState.CANCELLED, why) for each, why in seen.cancelled.items())
        self._decisions.decide(Outcome(each, DeliveryState.QUEUED, "all digests are paused") for each in seen.held)
        self._decisions.lose(set(ids) - seen.entitled - seen.cancelled.keys() - seen.held)
        going = [message for message in portion if message.delivery_id in seen.entitled]
        if not going:
            return
        self._decisions.hand_over(seen.entitled)
        with tracing.span("hand over", _deliveries([message.delivery_id for message in going])) as span:
            span.tell({"paperround.bytes": sum(len(message.content) for message in going)})
            conversation = asyncio.ensure_future(self._converse(going, latest))
            try:
                await asyncio.shield(conversation)
            except asyncio.CancelledError:
                # Interrupted: what is on the wire is heard to its end, or it would be sent twice.
                await conversation
                raise

    async def _converse(self, going: Sequence[Composed], latest: float) -> None:
        try:
            async for result in self._transport.send(going, latest=latest, record=self._journal):
                self._decisions.take(result)
        except RelayDown as error:
            await self._pause(str(error), lasting=not isinstance(error, CannotRecord))
        if self._decisions.everyone_refused:
            await self._pause("the relay refuses every message: look at its logs and check PAPERROUND_FROM")

    async def _pause(self, reason: str, *, lasting: bool = True) -> None:
        """Stop this run; ``lasting``: all others too, for a while, since what is wrong is not on this machine."""
        if self._paused is None:
            log.warning("send.paused", reason=reason)
            self._paused = reason
            if lasting:
                await asyncio.to_thread(pause.begin, self._database, reason, now=self._now)

    # ---- the database, in threads ------------------------------------------------------------------------------------

    def _look_again(self, delivery_ids: Sequence[int]) -> Recheck:
        with self._database.transaction() as session:
            return recheck(session, self._settings, self._owner, delivery_ids)

    async def _settle(self) -> None:
        """Step 5. Suppressions go first: settled without them, a dead address would be mailed again tomorrow."""
        outcomes, bad_addresses = self._decisions.drain()
        if not outcomes:
            return
        with tracing.span("settle", {"paperround.deliveries": len(outcomes)}) as span:
            await asyncio.to_thread(self._record, outcomes, bad_addresses)
            span.tell(
                {f"paperround.{state}": count for state, count in Counter(each.state for each in outcomes).items()}
            )
        self._journal.settled(outcome.delivery_id for outcome in outcomes)
        for outcome in outcomes:
            self._counts[outcome.state] += 1
        if self._counts[DeliveryState.SENT] and not self._proven and self._paused is None:
            self._proven = True
            await asyncio.to_thread(pause.end, self._database)
        if self._on_progress is not None:
            self._on_progress(sum(self._counts.values()) - self._counts[DeliveryState.QUEUED])

    def _record(self, outcomes: Sequence[Outcome], bad_addresses: dict[int, str]) -> None:
        """Both writes can be repeated without harm, so a database that restarts is tried again."""
        give_up = time.monotonic() + SETTLING_SECONDS
        for wait in chain((0.2, 0.5, 1.0), repeat(2.0)):
            try:
                if bad_addresses:
                    self._bounced(bad_addresses)
                rows.settle(self._database, self._owner, outcomes, now=self._now)
            except OperationalError as error:
                if time.monotonic() + wait > give_up:
                    raise
                log.warning("send.settle_again", deliveries=len(outcomes), error=type(error.orig or error).__name__)
                time.sleep(wait)
            else:
                return

    def _bounced(self, codes: dict[int, str]) -> None:
        with self._database.transaction() as session:
            returned.refused_in_conversation(session, self._settings, codes)


def _deliveries(ids: Sequence[int]) -> dict[str, tracing.Value]:
    """A batch's size and the ends of its ids: the deliveries between them are found in the tables."""
    return {
        "paperround.deliveries": len(ids),
        "paperround.delivery.first": min(ids),
        "paperround.delivery.last": max(ids),
    }
