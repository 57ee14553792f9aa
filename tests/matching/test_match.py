from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from service.database import Database
from service.database.tables import Match, Paper, Query
from service.matching import match, queries, search
from service.matching.language import parse
from service.papers import ingest
from service.settings import Settings
from tests import factories
from tests.factories import TODAY, Listed


def rows(database: Database) -> dict[tuple[int, int], list[int]]:
    with database.transaction() as session:
        return {(row.edition_id, row.query_id): row.paper_ids for row in session.scalars(select(Match))}


def test_a_query_is_stored_once_however_many_store_it_at_once(database: Database) -> None:
    def store(_: int) -> list[int]:
        with database.transaction() as session:
            return queries.store_many(session, [parse("b1 OR a1"), parse("a1 OR b1"), parse("x" * 1_900)])

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(store, range(16)))
    assert len({tuple(each) for each in ids}) == 1
    assert ids[0][0] == ids[0][1]
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Query)).one() == 2


def test_every_followed_query_is_matched_with_every_new_edition_once(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"], muted=["fish"])
    factories.edition(database, factories.record("Robots"), factories.record("Fish"), factories.record("Birds"))
    report = match.match_pending(database)
    assert (report.editions, report.matches) == (1, 2)
    assert sorted(rows(database).values()) == [[1], [2]]
    assert match.match_pending(database).queries == 0
    factories.edition(database, factories.record("More Birds"))
    match.match_pending(database)
    assert [found for (edition, _), found in rows(database).items() if edition == 2] == [[], []]


def test_matching_at_once_writes_each_row_once(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=[f"robot kind{n}" for n in range(50)])
    factories.edition(database, *(factories.record(f"Robot kind{n}") for n in range(50)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: match.match_pending(database), range(4)))
    assert sorted(found[0] for found in rows(database).values()) == list(range(1, 51))


def test_a_matcher_that_comes_late_writes_only_what_is_lacking(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots", "fish", "birds"])
    factories.edition(database, factories.record("Robots and Fish"))
    with database.transaction() as session:
        ids = session.scalars(select(Query.id).order_by(Query.id)).all()
    assert match.fill(database, 1, ids[:1])[0] == 1
    before = rows(database)
    assert match.fill(database, 1, ids)[0] == len(ids) - 1
    assert rows(database).items() >= before.items()
    assert sorted(rows(database).values()) == [[], [1], [1]]


def test_editions_older_than_two_weeks_are_not_matched_any_more(database: Database, settings: Settings) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=20)
    factories.edition(database, factories.record("Robots"), now=long_ago)
    factories.reader(database, settings, queries=["robots"], now=long_ago)
    assert match.match_pending(database).editions == 0


def test_the_archive_follows_what_arrives_and_what_changes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_FRESH_SECONDS", 0.0)
    archive = search.Archive(database)
    assert archive.search(parse("robots"), limit=5).total == 0
    row = factories.record("Robots", abstract="Short.")
    factories.edition(database, row)
    assert archive.search(parse("robots"), limit=5).paper_ids == [1]
    longer = factories.record("Robots", identifiers=row.identifiers, abstract="A longer text that speaks of fish.")
    ingest.ingest(database, Listed(longer), TODAY)
    assert archive.search(parse("robots fish"), limit=5).total == 1
    factories.edition(database, factories.record("Other Robots"))
    assert archive.search(parse("robots"), limit=1).paper_ids == [2], "the last arrived first"
    assert archive.search(parse("robots"), limit=1, offset=1).paper_ids == [1]
    assert archive.similar(1, "Robots", limit=3) == [2]
    assert archive.similar(1, "the of", limit=3) == []
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Paper)).one() == 2


def test_a_query_that_nothing_of_ours_wrote_or_that_is_too_dear_holds_up_nobody(
    database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, queries=["robots", "unreadable", "dear"])
    dear = " OR ".join(f"re{number}*" for number in range(100))
    with database.transaction() as session:
        for was, now in (("unreadable", "(("), ("dear", dear)):
            session.execute(update(Query).where(Query.canonical == was).values(canonical=now))
    factories.edition(database, factories.record("Robots Read Re1"))
    assert match.match_pending(database).matches == 1
    assert sorted(rows(database).values()) == [[], [], [1]]
