"""Readers who want a digest as soon as something comes for certain interests: their turn is brought forward.

Nothing else differs: the planner finds them due, takes all that is new to them, and their schedule goes on after it. So
no paper comes twice, and there is one way by which digests are made (decision 028).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text

from service.database import Database

PAUSE: Final = timedelta(hours=1)
"""Between two digests out of turn to one reader."""

# Reads ix_interest_instant and the primary keys of reader and match.
_BRING_FORWARD: Final = text("""
    UPDATE reader SET next_digest_at = :now, instant_after = :after
    WHERE state = 'active' AND next_digest_at > :now AND paused_until IS NULL
        AND (instant_after IS NULL OR instant_after <= :now)
        AND EXISTS (
            SELECT FROM interest JOIN match ON match.query_id = interest.query_id
            WHERE interest.reader_id = reader.id AND interest.instant AND NOT interest.muted
                AND match.edition_id > reader.last_edition_id AND cardinality(match.paper_ids) > 0
        )
        AND id IN (SELECT reader_id FROM interest WHERE instant AND NOT muted)
""")


def bring_forward(database: Database, *, now: datetime | None = None) -> int:
    """Make readers due for whom an edition brought something they want at once; return how many.

    One statement: a crash leaves a reader due or not. Twice is as good as once.
    """
    moment = now or datetime.now(UTC)
    with database.connection() as connection:
        return connection.execute(_BRING_FORWARD, {"now": moment, "after": moment + PAUSE}).rowcount
