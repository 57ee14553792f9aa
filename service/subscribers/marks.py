"""What a reader has read of their papers, and what they put aside. Made only by a reader's own act; nothing is learned
from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.database.tables import Mark, Paper

MOST_SAVED: Final = 2_000
"""Shown; more than anybody goes through."""


class Act(StrEnum):
    """What a reader says of a paper."""

    READ = "read"
    UNREAD = "unread"
    SAVE = "save"
    UNSAVE = "unsave"


@dataclass(frozen=True, slots=True)
class MarkView:
    """What a reader did with a paper."""

    read: bool = False
    saved: bool = False


def mark(session: Session, reader_id: int, paper_ids: Sequence[int], act: Act) -> None:
    """Do this to papers; what does not exist is passed over, and once is as good as twice.

    One statement for the rows, one for those that say nothing any more: killed between them, nothing happened, as both
    are of the caller's transaction.
    """
    wanted = list(dict.fromkeys(paper_ids))
    if act in (Act.READ, Act.SAVE):
        name = "read_at" if act is Act.READ else "saved_at"
        there = select(literal(reader_id, BigInteger), Paper.id, func.now()).where(Paper.id == func.any(wanted))
        statement: Any = insert(Mark).from_select(["reader_id", "paper_id", name], there)
        first = func.coalesce(getattr(Mark, name), statement.excluded[name])
        session.execute(
            statement.on_conflict_do_update(index_elements=[Mark.reader_id, Mark.paper_id], set_={name: first})
        )
        return
    theirs = (Mark.reader_id == reader_id, Mark.paper_id == func.any(wanted))
    other, own = (Mark.saved_at, Mark.read_at) if act is Act.UNREAD else (Mark.read_at, Mark.saved_at)
    session.execute(delete(Mark).where(*theirs, other.is_(None)).execution_options(synchronize_session=False))
    for row in session.scalars(select(Mark).where(*theirs)):
        setattr(row, own.key, None)
    session.flush()


def of(session: Session, reader_id: int, paper_ids: Sequence[int]) -> dict[int, MarkView]:
    """What was said of these papers; those of which nothing was are left out."""
    statement = select(Mark.paper_id, Mark.read_at, Mark.saved_at).where(
        Mark.reader_id == reader_id, Mark.paper_id == func.any(list(paper_ids))
    )
    return {paper: MarkView(read is not None, saved is not None) for paper, read, saved in session.execute(statement)}


def saved(session: Session, reader_id: int) -> dict[int, datetime]:
    """The papers put aside, with when; the last one first. Reads ix_mark_saved."""
    statement = (
        select(Mark.paper_id, Mark.saved_at)
        .where(Mark.reader_id == reader_id, Mark.saved_at.is_not(None))
        .order_by(Mark.saved_at.desc(), Mark.paper_id)
        .limit(MOST_SAVED)
    )
    return {paper: at for paper, at in session.execute(statement) if at is not None}
