"""The tasks. Each finds its work from the tables, may run twice, and may be lost: the schedule calls it again."""

from __future__ import annotations

from dataclasses import asdict, replace

from service import retention, rounds, task_runs
from service.database import months
from service.delivery import recovery, sender
from service.doorbell import Task, doorbell
from service.outbox import letters
from service.overview import days
from service.papers import coverage, ingest
from service.papers.sources import without_keys
from service.returns import imap
from service.subscribers import address_change, sign_in
from workers.app import app, settings
from workers.house import LoggedTask, database, log


@app.task(name=Task.INGEST_ALL, base=LoggedTask)
def ingest_all() -> None:
    """Read every source; wake the matcher if anything came."""
    new = 0
    for report in rounds.gather(database(), settings):
        log.info("ingest.read", source=without_keys(report.source), seen=report.seen, new=report.new,
                 rejected=report.rejected, error=report.error)  # fmt: skip
        new += report.new
    if new:
        doorbell(settings).ring(Task.MATCH_NEW)


@app.task(name=Task.MATCH_NEW, base=LoggedTask)
def match_new() -> None:
    """Cut an edition from what has arrived and match it."""
    edition = rounds.cut_and_match(database())
    if edition:
        log.info("edition.cut", edition=edition.id, papers=edition.paper_count)
        doorbell(settings).ring(Task.PLAN_DUE)


@app.task(name=Task.PLAN_DUE, base=LoggedTask)
def plan_due() -> None:
    """Plan the digests of readers whose turn it is; wake the sender."""
    report = rounds.plan_due(database(), settings)
    if report.readers:
        log.info("plan.done", readers=report.readers, digests=report.digests)
    if report.digests:
        doorbell(settings).ring(Task.SEND_DUE)


@app.task(name=Task.SEND_DUE, base=LoggedTask)
def send_due() -> None:
    """Send what is due in the outbox."""
    report = sender.send_due(database(), settings)
    if replace(report, paused=False, reason="") != sender.SendReport():
        log.info("send.done", **asdict(report))


@app.task(name=Task.SWEEP_LEASES, base=LoggedTask)
def sweep_leases() -> None:
    """Give back what dead senders held."""
    recovery.sweep(database(), settings)


@app.task(name=Task.PRUNE, base=LoggedTask)
def prune() -> None:
    """Make the months to come; drop what has served: problems of old ingests, runs, letters, links, deliveries; count
    yesterday; warn of days that stay incomplete."""
    months.make_ahead(database())
    ingest.prune(database())
    task_runs.prune(database(), days=settings.keep_task_runs_days)
    letters.prune(database())
    with database().transaction() as session:
        sign_in.prune(session)
        address_change.prune(session)
    days.close(database())
    kept = retention.apply(database(), settings)
    if any(asdict(kept).values()):
        log.info("retention.applied", **asdict(kept))
    with database().transaction() as session:
        overdue = coverage.overdue(session, settings.look_back_days)
    for late in overdue:
        log.warning("coverage.overdue", source=without_keys(late.source), days=len(late.days),
                    oldest=late.days[0].isoformat(), error=late.error)  # fmt: skip


@app.task(name=Task.READ_RETURNS, base=LoggedTask)
def read_returns() -> None:
    """Read the mailbox in which bounces and requests arrive."""
    report = imap.read_mailbox(database(), settings)
    if report != imap.MailboxReport():
        log.info("returns.read", **asdict(report))
