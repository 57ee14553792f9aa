"""Editions: immutable, numbered sets of papers. A paper is in exactly one.

The database itself refuses to change or delete an edition, to move a paper out of one, or to put one into an edition
that was cut before (triggers of the migration ``identity``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, update

from service import tracing
from service.database import Database
from service.database.tables import Edition, Paper
from service.papers import turn


@dataclass(frozen=True, slots=True)
class CutEdition:
    """An edition that was just cut."""

    id: int
    paper_count: int


def cut(database: Database, *, now: datetime | None = None) -> CutEdition | None:
    """Make an edition of every paper that is in none; None, and nothing changed, where there is no such paper.

    One transaction in its turn: numbers are consecutive, two cutters never share a paper, and a crash leaves the
    papers for the next cut. Papers that arrive meanwhile wait and go into the next edition.
    """
    with tracing.span("cut edition") as span, database.transaction() as session:
        turn.take(session)
        # Reads ix_paper_unedited.
        paper_ids = session.scalars(select(Paper.id).where(Paper.edition_id.is_(None)).with_for_update()).all()
        if not paper_ids:
            return None
        edition_id = session.scalars(select(func.coalesce(func.max(Edition.id), 0) + 1)).one()
        session.add(Edition(id=edition_id, cut_at=now or datetime.now(UTC), paper_count=len(paper_ids)))
        session.flush()
        session.execute(
            update(Paper)
            .where(Paper.id.in_(paper_ids))
            .values(edition_id=edition_id)
            .execution_options(synchronize_session=False)
        )
        span.tell({"paperround.edition": edition_id, "paperround.papers": len(paper_ids)})
        return CutEdition(edition_id, len(paper_ids))
