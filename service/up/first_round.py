"""The first round on a new machine: papers, one sample reader, one digest in the local mailbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tzlocal import get_localzone_name

from service import rounds
from service.database import Database
from service.papers import archive, ingest, samples
from service.settings import Settings
from service.subscribers import accounts, interests
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.consent import Visit

SAMPLE_READER = "reader@localhost"
SAMPLE_TOPICS = ("daily-papers", "language-models", "reinforcement-learning", "robot-learning", "efficient-inference")
SAMPLE_QUERY = '"speculative decoding" -survey'


def first_round(database: Database, settings: Settings, tell: Callable[[str], None]) -> None:
    """Do once what a newcomer wants to see; a run that was cut short is simply done again.

    1. Papers: from the sources if they answer, else the invented samples; which of the two is told.
    2. A sample reader with a few topics, confirmed.
    3. One round, so that a digest lies in the mailbox.

    A crash between the steps repeats them at the next start: papers are not new twice, one address is one reader,
    and the second round has nothing to send.
    """
    done = settings.home / "run" / "first-round-done"
    if done.exists():
        return
    with database.transaction() as session:
        stocked = bool(archive.days(session, limit=1))
    if not stocked:
        _stock(database, settings, tell)
    with database.transaction() as session:
        if accounts.find(session, SAMPLE_READER) is None:
            wishes = [
                *interests.from_topics(session, SAMPLE_TOPICS),
                *interests.from_queries([SAMPLE_QUERY]),
            ]
            accounts.add_confirmed(
                session,
                settings,
                Signup(
                    email=SAMPLE_READER,
                    wishes=wishes,
                    preferences=Preferences(timezone=get_localzone_name()),
                    visit=Visit("first start"),
                ),
            )
    report = rounds.run(database, settings, everyone=True)
    papers = f"{report.papers} papers in edition {report.edition}" if report.edition else "no new papers"
    tell(f"First round: {papers}, {report.sent} digest sent to {SAMPLE_READER}")
    done.touch()


def _stock(database: Database, settings: Settings, tell: Callable[[str], None]) -> None:
    new = 0
    for report in rounds.gather(database, settings):
        new += report.new
        if report.error:
            tell(f"{report.source}: no answer ({report.error})")
        else:
            tell(f"{report.source}: {report.new} papers")
    if new == 0:
        report = ingest.ingest(database, samples.SampleSource(), datetime.now(UTC).date())
        tell(f"No source answered: {report.new} sample papers (invented, marked as samples) stand in for today's")
