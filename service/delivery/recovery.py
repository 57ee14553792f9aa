"""Finding what dead senders left behind, and putting it right.

The steps, each of which may be repeated, and what a crash between two leaves:

1. For every journal of this machine whose run is dead: what it tells goes into the tables in one transaction, then the
   file goes. A crash between: the file is read again, and changes nothing.
2. Leases that have run out come back. They are those of machines that died, which first hear their own journals when
   they rise again.
3. Uncertain rows are repeated or dropped, as the setting says; what is past its deadline is given up.

All of it from the tables and the journals alone: no broker is asked.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from service.database import Database
from service.delivery import journal
from service.outbox import rows
from service.outbox.rows import Inherited, SweepReport
from service.settings import Settings

log = structlog.get_logger(__name__)


def journals_folder(settings: Settings) -> Path:
    """Where the runs of this machine keep their journals."""
    return settings.home / "journals"


def inherit(database: Database, settings: Settings, *, now: datetime | None = None) -> Inherited:
    """Step 1. Also the first thing that every sender does, so that a killed one is made up for within seconds.

    Raises :class:`sqlalchemy.exc.SQLAlchemyError`; the journals then wait.
    """
    total = Inherited()
    for path in journal.journals(journals_folder(settings)):
        with journal.abandoned(path) as legacy:
            if legacy is None:
                continue
            found = rows.inherit(
                database,
                owner=legacy.owner,
                accepted=legacy.accepted,
                begun=legacy.begun,
                written_at=legacy.written_at,
                now=now,
            )
        log.warning(
            "sender.inherited", owner=legacy.owner, sent=found.sent, uncertain=found.uncertain, queued=found.queued
        )
        total = Inherited(total.sent + found.sent, total.uncertain + found.uncertain, total.queued + found.queued)
    return total


def sweep(database: Database, settings: Settings, *, now: datetime | None = None) -> SweepReport:
    """All steps. Any number may run at once."""
    inherit(database, settings, now=now)
    return rows.sweep(database, now=now, uncertain=settings.uncertain)
