"""The whole archive as an index in memory: search, and papers alike. The same language and index as matching."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import select

from service.database import Database
from service.database.tables import Paper
from service.matching import stock
from service.matching.index import PaperIndex
from service.matching.language import Expression, Or, Text, is_common
from service.matching.normalise import tokens

_FRESH_SECONDS: Final = 5.0
_OVERLAP: Final = timedelta(minutes=2)
"""Looked at again on each refresh: a transaction may commit later than the time it stamped."""
_SIMILAR_WORDS: Final = 12


@dataclass(frozen=True, slots=True)
class Found:
    paper_ids: list[int]
    """One page of results."""
    total: int


class Archive:
    """Searches all papers; follows the database with a few seconds' delay. Safe for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._index = PaperIndex()
        self._seen: dict[int, datetime] = {}
        """Papers in the index, with the change they were taken at."""
        self._watermark = datetime(1970, 1, 1, tzinfo=UTC)
        self._looked_at = float("-inf")
        self._lock = threading.Lock()

    def search(self, expression: Expression, *, limit: int, offset: int = 0, newest_first: bool = True) -> Found:
        """One page of the papers that match: the last arrived first, or the best matching first."""
        self.refresh()
        hits = self._index.search(expression)
        ids = sorted(hits.paper_ids.tolist(), reverse=True) if newest_first else hits.paper_ids.tolist()
        return Found(ids[offset : offset + limit], len(ids))

    def similar(self, paper_id: int, title: str, *, limit: int) -> list[int]:
        """Papers that share telling words with a title, most alike first."""
        self.refresh()
        words = [word for word in dict.fromkeys(tokens(title)) if not is_common(word)][:_SIMILAR_WORDS]
        if not words:
            return []
        hits = self._index.search(Or(tuple(Text((word,)) for word in words)) if len(words) > 1 else Text((words[0],)))
        return [found for found in hits.paper_ids.tolist()[: limit + 1] if found != paper_id][:limit]

    def refresh(self) -> None:
        """Take in what has arrived or changed, at most every few seconds. Reads ix_paper_updated_at."""
        if time.monotonic() - self._looked_at < _FRESH_SECONDS:
            return
        with self._lock:
            if time.monotonic() - self._looked_at < _FRESH_SECONDS:
                return
            with self._database.transaction() as session:
                since = Paper.updated_at >= self._watermark - _OVERLAP if self._seen else Paper.id > 0
                changed = dict(session.execute(select(Paper.id, Paper.updated_at).where(since)).all())
                wanted = [paper for paper, changed_at in changed.items() if self._seen.get(paper) != changed_at]
                if wanted and not self._seen:
                    self._index = PaperIndex.build(stock.papers(session))
                elif wanted:
                    self._index.replace(stock.papers(session, Paper.id.in_(wanted)))
            self._seen.update({paper: changed[paper] for paper in wanted})
            self._watermark = max(changed.values(), default=self._watermark)
            self._looked_at = time.monotonic()
