"""What a chunk's readers said of papers, as their taste: for ranking what they asked for, and nothing else."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database import bulk
from service.database.engine import raw
from service.database.tables import Paper
from service.digests.candidates import Due, Ints, Papers, Window
from service.matching import likeness
from service.matching.likeness import Background, Liking, Vectors
from service.subscribers import feedback

_SAID: Final = """
    SELECT array_send(array_agg(reader_id)), array_send(array_agg(paper_id)), array_send(array_agg(liked::int))
    FROM unnest(%s::bigint[]) AS due (id)
    CROSS JOIN LATERAL (
        SELECT reader_id, paper_id, liked FROM feedback WHERE feedback.reader_id = due.id ORDER BY at DESC, paper_id
        LIMIT %s
    ) AS said
"""
"""Reads pk_feedback, a reader at a time: few of them say anything."""
_READ: Final = 2_000


class Tastes:
    """Readers' tastes for one run of planning: new papers are read once, not once for each chunk."""

    def __init__(self) -> None:
        self._papers: Papers | None = None
        self._background = Background(0, {})
        self._vectors: Vectors = np.empty((0, likeness.DIMENSIONS), np.float32)

    def of(self, session: Session, due: Due, new: Window) -> Liking | None:
        """None where no reader of the chunk said anything: then ranking has nothing to ask."""
        with raw(session).cursor(binary=True) as cursor:
            row: tuple[Any, ...] = cursor.execute(_SAID, (due.id.tolist(), feedback.MOST_LEARNED)).fetchall()[0]
        who, papers, liked = map(bulk.numbers, row)
        if not len(who):
            return None
        self._read(session, new)
        by_id = np.argsort(due.id)
        reader, owner = np.unique(by_id[np.searchsorted(due.id[by_id], who)], return_inverse=True)
        profile = np.zeros((len(reader), likeness.DIMENSIONS), np.float32)
        order = np.argsort(owner, kind="stable")
        edges = np.searchsorted(owner[order], np.arange(len(reader) + 1))
        begin = 0
        while begin < len(reader):
            # As many readers at a time as said no more than fits; at least one.
            end = max(int(np.searchsorted(edges, edges[begin] + _READ, side="right")) - 1, begin + 1)
            mine = order[edges[begin] : edges[end]]
            known, row_of = np.unique(papers[mine], return_inverse=True)
            vectors = self._background.vectors(_texts(session, known))[row_of]
            profile[begin:end] = likeness.profile(vectors, owner[mine] - begin, liked[mine] > 0, end - begin)
            begin = end
        return Liking(reader.astype(np.int64), profile, self._vectors)

    def _read(self, session: Session, new: Window) -> None:
        if self._papers is None or not np.array_equal(self._papers.id, new.papers.id):
            texts = _texts(session, new.papers.id)
            self._background = Background.of(texts)
            self._vectors = self._background.vectors(texts)
            self._papers = new.papers


def _texts(session: Session, paper_ids: Ints) -> list[tuple[str, str]]:
    """Titles and abstracts of papers, in the order of their ids."""
    statement = select(Paper.title, Paper.abstract).where(Paper.id == func.any(paper_ids.tolist())).order_by(Paper.id)
    return [(title, abstract) for title, abstract in session.execute(statement)]
