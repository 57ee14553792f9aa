"""The whole archive as an index in memory: search, and papers alike. The same language and index as matching."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import Paper
from service.matching import stock
from service.matching.expression import Expression, Or, Text, is_common
from service.matching.index import Listed, PaperIndex
from service.matching.normalise import tokens
from service.papers import stamp

log = structlog.get_logger(__name__)

_FRESH_SECONDS: Final = 5.0
_OVERLAP: Final = timedelta(minutes=2)
"""Looked at again on each refresh: a transaction may commit later than the time it stamped."""
_SIMILAR_WORDS: Final = 12


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the ids of a page, and how many there are in all."""

    paper_ids: list[int]
    """One page of results."""
    total: int


@dataclass(frozen=True, slots=True)
class Recent:
    """A window on the archive, as it stood when it was opened."""

    index: PaperIndex
    first: date
    last: date
    """Both days belong to it."""

    def search(self, expression: Expression) -> Listed:
        """Every paper of these days that matches, the last listed first."""
        return self.index.since(expression, self.first)


class Archive:
    """Searches all papers; follows the database with a few seconds' delay. Safe for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._index = PaperIndex()
        self._seen: dict[int, datetime] = {}
        """Papers in the index, with the change they were taken at."""
        self._watermark = datetime(1970, 1, 1, tzinfo=UTC)
        self._stamp: int | None = None
        """Of the papers that are in the index."""
        self._looked_at = float("-inf")
        self._built = False
        self._lock = threading.Lock()

    def search(self, expression: Expression, *, limit: int, offset: int = 0, newest_first: bool = True) -> Found:
        """One page of the papers that match: the last listed first, or the best matching first."""
        self.refresh()
        if newest_first:
            return Found(*self._index.newest(expression, limit, offset))
        hits = self._index.search(expression)
        return Found(hits.paper_ids[offset : offset + limit].tolist(), len(hits))

    def similar(self, paper_id: int, title: str, *, limit: int) -> list[int]:
        """Papers that share telling words with a title, most alike first."""
        self.refresh()
        words = [word for word in dict.fromkeys(tokens(title)) if not is_common(word)][:_SIMILAR_WORDS]
        if not words:
            return []
        hits = self._index.search(Or(tuple(Text((word,)) for word in words)) if len(words) > 1 else Text((words[0],)))
        return [found for found in hits.paper_ids.tolist()[: limit + 1] if found != paper_id][:limit]

    def count(self, expression: Expression) -> int:
        """How many papers match."""
        self.refresh()
        return self._index.newest(expression, 1)[1]

    def size(self) -> int:
        """How many papers there are."""
        self.refresh()
        return len(self._index)

    def recent(self, days: int) -> Recent | None:
        """The papers of the last so many days that have any, up to the newest; None while the archive is empty."""
        self.refresh()
        newest = self._index.newest_day()
        return Recent(self._index, newest - timedelta(days=days - 1), newest) if newest else None

    def warm(self) -> None:
        """Read the archive before anybody asks. What fails here fails again, and is told, when somebody does."""
        try:
            self.refresh()
        except SQLAlchemyError as error:
            log.warning("archive.not_read_yet", error=type(error).__name__)

    def refresh(self) -> None:
        """Take in what has arrived, changed or gone, at most every few seconds. Reads ix_paper_updated_at.

        The first call waits until the archive is there; later ones leave the work to the thread that is at it, and
        where the database is away they go by the papers there were.
        """
        if time.monotonic() - self._looked_at < _FRESH_SECONDS or not self._lock.acquire(blocking=not self._built):
            return
        try:
            if time.monotonic() - self._looked_at >= _FRESH_SECONDS:
                self._take_in()
                self._looked_at = time.monotonic()
                self._built = True
        except SQLAlchemyError as error:
            if not self._built:
                raise
            self._looked_at = time.monotonic()
            log.warning("archive.database_away", error=type(error).__name__)
        finally:
            self._lock.release()

    @property
    def stamp(self) -> int | None:
        """Of the papers it has taken in (service/papers/stamp.py); None before the first time."""
        return self._stamp

    def changed_at(self, paper_id: int) -> datetime | None:
        """The change at which a paper was taken in; None for one that is not there."""
        return self._seen.get(paper_id)

    def _take_in(self) -> None:
        with self._database.transaction() as session:
            # Read first: what is committed after it makes another stamp, and is looked at again.
            changed_by = stamp.read(session)
            if changed_by == self._stamp:
                return
            since = Paper.updated_at >= self._watermark - _OVERLAP if self._seen else Paper.id > 0
            changed = dict(session.execute(select(Paper.id, Paper.updated_at).where(since)).all())
            gone, unseen = self._compared(session, changed)
            changed |= unseen
            wanted = [paper for paper, changed_at in changed.items() if self._seen.get(paper) != changed_at]
            if wanted and not self._seen:
                self._index = PaperIndex.build(stock.papers(session))
            elif wanted or gone:
                self._index.replace(stock.papers(session, Paper.id == func.any(wanted)), gone)
        self._seen.update({paper: changed[paper] for paper in wanted})
        for paper in gone:
            del self._seen[paper]
        self._watermark = max(changed.values(), default=self._watermark)
        self._stamp = changed_by

    def _compared(self, session: Session, changed: Mapping[int, datetime]) -> tuple[set[int], dict[int, datetime]]:
        """Papers in the index that are in the database no more, and the other way round with their change: rows that
        a long reading stamped with its beginning. Read only where the numbers differ."""
        count = session.scalars(select(func.count()).select_from(Paper)).one()
        known = self._seen.keys() | changed.keys()
        if count == len(known):
            return set(), {}
        there = dict(session.execute(select(Paper.id, Paper.updated_at)).all())
        return self._seen.keys() - there.keys(), {paper: at for paper, at in there.items() if paper not in known}
