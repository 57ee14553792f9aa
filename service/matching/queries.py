"""Queries at rest: one row for each distinct canonical expression, however many readers follow it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.database.tables import Query
from service.matching.expression import Expression, canonical

_STORE: Final = text("""
    INSERT INTO query (canonical, digest)
    SELECT * FROM unnest(CAST(:canonicals AS text[]), CAST(:digests AS bytea[]))
    ON CONFLICT (digest) DO NOTHING
""")


def store(session: Session, expression: Expression) -> int:
    """The id of the query's row, made if need be; two sessions storing the same at once get the same id."""
    return store_many(session, [expression])[0]


def store_many(session: Session, expressions: Sequence[Expression]) -> list[int]:
    """The ids of the queries' rows, in the order given."""
    texts = [canonical(expression) for expression in expressions]
    by_digest = {hashlib.sha256(each.encode()).digest(): each for each in texts}
    if not by_digest:
        return []
    # Inserted in one order everywhere, so that two sessions with the same queries cannot wait for each other.
    digests = sorted(by_digest)
    session.execute(_STORE, {"canonicals": [by_digest[digest] for digest in digests], "digests": digests})
    found = session.execute(select(Query.canonical, Query.id).where(Query.digest == func.any(list(by_digest))))
    ids = dict(found.all())
    return [ids[each] for each in texts]
