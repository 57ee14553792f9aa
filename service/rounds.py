"""The paper round: papers in, an edition cut, queries matched, digests planned, mail sent.

Every step finds its work from the tables, so a round may be stopped between or inside steps and begun again: papers
already stored are not new, an edition is cut or not, a chunk of readers is planned or not, a message is settled or
still leased.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import func, select

from service import tracing
from service.database import Database, months
from service.database.tables import Delivery, DeliveryKind, DeliveryState, Digest
from service.delivery import crew, recovery
from service.digests import plan
from service.digests.plan import PlanReport
from service.matching import match
from service.papers import coverage, editions, ingest, sources
from service.papers.record import Dayless, Settling
from service.settings import Settings
from service.subscribers import instant, pauses

Tell = Callable[[str, int], None]
"""Called with the name of a step and how many things that step has done so far."""

_PATIENCE_SECONDS = 120.0
"""How long a round waits for messages that another sender has taken."""


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What one round did. The counts of deliveries speak of this round's digests only."""

    edition: int | None
    """The edition cut in this round; None where no paper was new."""
    papers: int
    readers: int
    queued: int
    sent: int
    failed: int
    deferred: int
    """Not accepted yet; they are tried again by themselves until their deadline."""


def gather(database: Database, settings: Settings, tell: Tell | None = None) -> Iterator[ingest.IngestReport]:
    """Read every configured source once, a report each; a source that fails is reported and costs only itself."""
    for source in sources.configured(settings, database):
        with database.transaction() as session:
            since = coverage.since(session, source.name, settings.look_back_days)
        by_days = not isinstance(source, Dayless)
        step = _step(tell, f"read {source.name}")
        report = ingest.ingest(database, source, since, by_days=by_days, on_progress=step)
        if isinstance(source, Settling):
            source.settle()
        yield report


def cut_and_match(database: Database, tell: Tell | None = None) -> editions.CutEdition | None:
    """Cut an edition from what has arrived and match it; None where nothing has."""
    edition = editions.cut(database)
    match.match_pending(database, on_progress=_step(tell, "match queries"))
    return edition


def plan_due(database: Database, settings: Settings, tell: Tell | None = None, *, everyone: bool = False) -> PlanReport:
    """End pauses that are over, bring forward who wants a digest at once, plan who is due.

    Each step stands alone and finds its work from the tables; a crash between two leaves the rest to the next turn.
    """
    pauses.end_due(database, settings)
    instant.bring_forward(database)
    return plan.plan_due(database, settings, everyone=everyone, on_progress=_step(tell, "plan digests"))


def run(database: Database, settings: Settings, tell: Tell | None = None, *, everyone: bool = False) -> RoundReport:
    """One whole round from what is already stored, for the readers whose hour has come, or for ``everyone`` active.

    A reader to whom nothing new applies gets nothing. Running it twice, or beside the scheduled workers, mails nobody
    twice: planning advances each reader's last edition in the transaction that queues the digest.
    """
    with tracing.span("round") as span:
        report = _run(database, settings, tell, everyone)
        told = ("papers", "readers", "queued", "sent", "failed", "deferred")
        span.tell({f"paperround.{each}": getattr(report, each) for each in told})
    return report


def _run(database: Database, settings: Settings, tell: Tell | None, everyone: bool) -> RoundReport:
    # Where no schedule runs, nobody else gives back what a killed round held.
    recovery.sweep(database, settings)
    edition = cut_and_match(database, tell)
    planned = plan_due(database, settings, tell, everyone=everyone)
    crew.send_due_together(database, settings, on_progress=_step(tell, "send"), insist=True)
    states = _settled_states(database, planned.slot)
    return RoundReport(
        edition=edition.id if edition else None,
        papers=edition.paper_count if edition else 0,
        readers=planned.readers,
        queued=planned.digests,
        sent=states.get(DeliveryState.SENT, 0),
        failed=states.get(DeliveryState.FAILED, 0),
        deferred=states.get(DeliveryState.DEFERRED, 0) + states.get(DeliveryState.QUEUED, 0),
    )


def _settled_states(database: Database, slot: datetime | None) -> dict[str, int]:
    """Deliveries of a slot by state, once no other sender (a worker beside us) still holds one of them."""
    if slot is None:
        return {}
    month = months.month_of(slot)
    # A digest and its delivery have one id, of the slot's month.
    statement = (
        select(Delivery.state, func.count())
        .join(Digest, Digest.id == Delivery.id)
        .where(Digest.slot == slot, Delivery.kind == DeliveryKind.DIGEST)
        .where(Delivery.id.between(months.first_id(month), months.first_id(month + 1) - 1))
        .group_by(Delivery.state)
    )
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with database.transaction() as session:
            states = dict(session.execute(statement).all())
        if DeliveryState.SENDING not in states or time.monotonic() > give_up:
            return states
        time.sleep(0.2)


def _step(tell: Tell | None, name: str) -> Callable[[int], None] | None:
    return partial(tell, name) if tell is not None else None
