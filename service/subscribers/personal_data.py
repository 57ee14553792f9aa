"""Everything that is kept about one reader, as JSON (GDPR, Articles 15 and 20)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database.tables import (
    AddressChange,
    ConsentEvent,
    Delivery,
    Digest,
    Feedback,
    Interest,
    Mark,
    Paper,
    Query,
    Reader,
    ReturnEvent,
)
from service.subscribers.accounts import AccountError

_HIDDEN: Final = frozenset({"address_hash", "session_epoch", "lease_owner", "lease_until", "reader_id", "key"})
"""Hashes and the machinery's own marks; they say nothing of the reader."""


def export(session: Session, reader_id: int) -> str:
    """A JSON document, indented, times in ISO 8601. Raises :class:`AccountError` for a reader who is gone."""
    reader = session.get(Reader, reader_id)
    if reader is None:
        raise AccountError("this subscription does not exist any more: there is no data of it")
    interests = session.execute(
        select(Interest, Query.canonical)
        .join(Query, Query.id == Interest.query_id)
        .where(Interest.reader_id == reader_id)
        .order_by(Interest.id)
    ).all()
    digests = session.scalars(select(Digest).where(Digest.reader_id == reader_id).order_by(Digest.id)).all()
    said = session.scalars(select(Feedback).where(Feedback.reader_id == reader_id).order_by(Feedback.at)).all()
    marks = session.scalars(select(Mark).where(Mark.reader_id == reader_id).order_by(Mark.paper_id)).all()
    shown = {paper for digest in digests for paper in (*digest.paper_ids, *digest.trending_ids)}
    noted = {each.paper_id for each in said} | {each.paper_id for each in marks}
    wanted = select(Paper.id, Paper.title).where(Paper.id.in_(shown | noted))
    titles: dict[int, str] = dict(session.execute(wanted).all())
    document = {
        "reader": _row(reader),
        "interests": [{**_row(each), "query": canonical} for each, canonical in interests],
        "digests": [
            {"at": each.slot, "matched": each.matched, "papers": [titles.get(paper) for paper in each.paper_ids],
             "trending": [titles.get(paper) for paper in each.trending_ids]}
            for each in digests
        ],
        "feedback": [{**_row(each), "paper": titles.get(each.paper_id)} for each in said],
        "marks": [{**_row(each), "paper": titles.get(each.paper_id)} for each in marks],
        "mails": _rows(session, Delivery, reader_id),
        "came_back": _rows(session, ReturnEvent, reader_id),
        "consent": _rows(session, ConsentEvent, reader_id),
        "address_change": _rows(session, AddressChange, reader_id),
    }  # fmt: skip
    return json.dumps(document, ensure_ascii=False, indent=2, default=_plain) + "\n"


def _rows(
    session: Session,
    table: type[Delivery] | type[ReturnEvent] | type[ConsentEvent] | type[AddressChange],
    reader_id: int,
) -> list[dict[str, Any]]:
    found = session.scalars(select(table).where(table.reader_id == reader_id).order_by(table.id))
    return [_row(each) for each in found]


def _row(row: Any) -> dict[str, Any]:
    names = [column.key for column in row.__table__.columns]
    return {name: getattr(row, name) for name in names if name not in _HIDDEN}


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
