"""One row that says whether papers changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from service.database import Database
from service.database.tables import Paper
from service.matching import search
from service.matching.language import parse
from service.papers import ingest, stamp
from tests import factories


def read(database: Database) -> int:
    with database.transaction() as session:
        return stamp.read(session)


def test_every_transaction_that_writes_papers_leaves_another_stamp_and_reading_none(database: Database) -> None:
    seen = [read(database)]
    factories.edition(database, factories.record("Robots"))
    seen.append(read(database))
    with database.transaction() as session:
        session.execute(update(Paper).values(upvotes=5))
        seen.append(read(database))
        assert stamp.read(session) not in seen, "the writer sees its own"
    seen.append(read(database))
    assert seen[2] == seen[1], "nothing shows before the commit"
    assert len({seen[0], seen[1], seen[3]}) == 3
    assert read(database) == seen[3]


def test_rows_stamped_with_the_beginning_of_a_long_reading_are_found(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_FRESH_SECONDS", 0.0)
    archive = search.Archive(database)
    now = datetime.now(UTC)
    ingest.ingest(database, factories.Listed(factories.record("Robots")), factories.TODAY, now=now)
    assert archive.size() == 1
    began = now - timedelta(hours=1)
    ingest.ingest(database, factories.Listed(factories.record("More Robots")), factories.TODAY, now=began)
    assert archive.search(parse("robots"), limit=9).total == 2
