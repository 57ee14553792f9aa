"""Folding what could not be delivered into the reader's next digest, so that nothing is lost.

A digest that was given up undelivered stands in ``carried_over`` since the very statement that gave it up. Planning
calls :func:`fold` in the transaction in which it writes a reader's next digest, which removes it there: after a crash
at any point its papers are in exactly one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from service.database import bulk, months
from service.database.tables import DeliveryKind, Digest
from service.digests import notes
from service.outbox import rows
from service.settings import Settings

MOST_PAPERS: Final = 50
"""Of one digest, as many as a reader may ask for. Where weeks have come together, the newest digests' papers stay."""


_REMOVE: Final = "DELETE FROM carried_over WHERE reader_id = ANY(%s) RETURNING digest_id"
"""Reads ix_carried_over_reader_id where there are many, the table where there are none."""


@dataclass(slots=True)
class _Folded:
    """The papers of several digests, each once."""

    paper_ids: list[int] = field(default_factory=list)
    reasons: list[tuple[int, int]] = field(default_factory=list)
    """(place among the papers, query), each once."""
    matched: int = 0

    def add(self, digest: Digest) -> None:
        places = {paper: place for place, paper in enumerate(self.paper_ids)}
        added = [paper for paper in digest.paper_ids if paper not in places][: MOST_PAPERS - len(places)]
        self.paper_ids += added
        places |= {paper: place for place, paper in enumerate(self.paper_ids)}
        why = [
            (places[digest.paper_ids[index]], query)
            for index, query in zip(digest.reason_papers, digest.reason_queries, strict=True)
            if digest.paper_ids[index] in places
        ]
        self.reasons = list(dict.fromkeys([*self.reasons, *why]))
        # What matched and was not shown is linked to by its edition, which the digest's range of editions tells.
        self.matched += digest.matched - len(digest.paper_ids) + len(added)


def fold(
    session: Session,
    settings: Settings,
    reader_ids: NDArray[np.int64],
    slot_of: Callable[[int], datetime],
    now: datetime,
) -> int:
    """Move what is carried over for these readers into the digest of their slot; return how many digests that made.

    ``slot_of`` tells the slot of a reader by their place in ``reader_ids``: few have anything carried over.
    To be called when the digests of the slots are written, in the same transaction, with the readers locked. A reader
    whom nothing new matched gets a digest of what was carried over alone. Leave out a reader whose digest of the slot
    was there before: it may be on its way.
    """
    with bulk.cursor(session) as cursor:
        carried_ids = [row[0] for row in cursor.execute(_REMOVE, (reader_ids,)).fetchall()]
    if not carried_ids:
        return 0
    carried: dict[int, list[Digest]] = {}
    newest_first = select(Digest).where(Digest.id.in_(carried_ids)).order_by(Digest.slot.desc())
    for digest in session.scalars(newest_first):
        carried.setdefault(digest.reader_id, []).append(digest)
    having = np.flatnonzero(np.isin(reader_ids, list(carried))).tolist()
    slots = {int(reader_ids[place]): slot_of(place) for place in having}
    planned = {digest.reader_id: digest for digest in _planned(session, slots.items())}
    made = 0
    for reader_id, old in carried.items():
        if reader_id in planned:
            whole = [planned[reader_id], *old]
            session.execute(
                update(Digest)
                .where(Digest.id == whole[0].id)
                .values(_columns(_merged(whole)) | {"first_edition_id": min(each.first_edition_id for each in whole)})
                .execution_options(synchronize_session=False)
            )
        else:
            _write(session, settings, old, slots[reader_id], now)
            made += 1
    return made


def _planned(session: Session, turns: Iterable[tuple[int, datetime]]) -> Sequence[Digest]:
    """Reads the unique index of (reader, slot) of each month."""
    return session.scalars(select(Digest).where(tuple_(Digest.reader_id, Digest.slot).in_(list(turns)))).all()


def _merged(digests: Iterable[Digest]) -> _Folded:
    folded = _Folded()
    for digest in digests:
        folded.add(digest)
    return folded


def _columns(folded: _Folded) -> dict[str, object]:
    return {
        "paper_ids": folded.paper_ids,
        "reason_papers": [place for place, _ in folded.reasons],
        "reason_queries": [query for _, query in folded.reasons],
        "matched": folded.matched,
    }


def _write(session: Session, settings: Settings, old: Sequence[Digest], slot: datetime, now: datetime) -> None:
    digest = Digest(
        id=months.draw(session, months.month_of(slot)),
        reader_id=old[0].reader_id,
        slot=slot,
        first_edition_id=min(each.first_edition_id for each in old),
        last_edition_id=max(each.last_edition_id for each in old),
        note_id=notes.for_one(session, old[0].reader_id, slot, now),
        **_columns(_merged(old)),
    )
    session.add(digest)
    session.flush()
    patience = timedelta(hours=settings.deadline_hours)
    rows.enqueue(
        session,
        kind=DeliveryKind.DIGEST,
        reader_id=digest.reader_id,
        mail_domain=settings.mail_domain,
        digest_id=digest.id,
        due_at=slot,
        deadline=max(slot + patience, now + patience / 4),
    )
