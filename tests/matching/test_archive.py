"""The archive in memory, beside the database it follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from service.database import Database
from service.database.tables import Match, Paper, PaperIdentifier, Query, Sighting
from service.matching import match, queries, search
from service.matching.language import parse
from service.settings import Settings
from tests import factories
from tests.factories import TODAY


@pytest.fixture
def archive(database: Database, monkeypatch: pytest.MonkeyPatch) -> search.Archive:
    monkeypatch.setattr(search, "_FRESH_SECONDS", 0.0)
    return search.Archive(database)


def test_the_newest_are_those_listed_last_whenever_they_arrived(database: Database, archive: search.Archive) -> None:
    for age in (1, 0, 400):
        factories.edition(database, factories.record("Robots", listed_on=TODAY - timedelta(days=age)))
    assert archive.search(parse("robots"), limit=9).paper_ids == [2, 1, 3]
    assert archive.search(parse("robots"), limit=1, offset=1) == search.Found([1], 3)


def test_a_page_beyond_the_last_is_empty_however_far(database: Database, archive: search.Archive) -> None:
    factories.edition(database, factories.record("Robots"))
    assert archive.search(parse("robots"), limit=20, offset=10**12) == search.Found([], 1)
    assert archive.search(parse("robots"), limit=20, offset=10**12, newest_first=False) == search.Found([], 1)


def test_the_best_come_first_when_asked_for(database: Database, archive: search.Archive) -> None:
    factories.edition(
        database,
        factories.record("Something Else", abstract="It mentions robots once among many other words that say little."),
        factories.record("Robots"),
    )
    assert archive.search(parse("robots"), limit=9, newest_first=False).paper_ids == [2, 1]


def test_a_paper_that_is_gone_is_found_no_more(database: Database, archive: search.Archive) -> None:
    factories.edition(database, *(factories.record(f"Robots {n}") for n in range(3)))
    assert archive.search(parse("robots"), limit=9).total == 3
    with database.transaction() as session:
        for table in (PaperIdentifier, Sighting):
            session.execute(delete(table).where(table.paper_id == 2))
        session.execute(delete(Paper).where(Paper.id == 2))
    assert set(archive.search(parse("robots"), limit=9).paper_ids) == {1, 3}
    factories.edition(database, factories.record("More Robots"))
    assert archive.search(parse("robots"), limit=9).total == 3


def test_many_threads_find_the_same_while_papers_arrive(database: Database, archive: search.Archive) -> None:
    factories.edition(database, *(factories.record(f"Robots {n}") for n in range(20)))

    def look(_: int) -> int:
        return archive.search(parse("robots"), limit=50).total

    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(look, number) for number in range(40)]
        factories.edition(database, *(factories.record(f"More Robots {n}") for n in range(20)))
        totals = [each.result() for each in found]
    assert set(totals) <= {20, 40}
    assert look(0) == 40


def test_search_and_digests_agree_on_what_a_query_means(
    database: Database, settings: Settings, archive: search.Archive
) -> None:
    asked = ["robots", "robots -fish", '"deep learning" OR cat:cs.CV', 'author:"Ada Inventor"', "primary:cs.CL fish*"]
    factories.reader(database, settings, queries=asked)
    titles = ["Robots", "Robots and Fishes", "Deep-Learning", "Fishery", "Deep Fish Learning"]
    places = [("cs.CL",), ("cs.RO", "cs.CL"), ("cs.CV",), ("cs.CL", "cs.CV"), ("stat.ML",)]
    factories.edition(
        database,
        *(
            factories.record(title, categories=categories, authors=("Ada Inventor",) if "Fish" in title else ())
            for title, categories in zip(titles, places, strict=True)
        ),
    )
    match.match_pending(database)
    with database.transaction() as session:
        rows = session.execute(select(Query.canonical, Match.paper_ids).join(Match, Match.query_id == Query.id)).all()
    assert len(rows) == len(asked)
    for canonical, paper_ids in rows:
        assert sorted(paper_ids) == sorted(archive.search(parse(canonical), limit=50).paper_ids), canonical


def test_a_row_nobody_can_read_does_not_keep_the_others_from_being_matched(
    database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, queries=["robots", "fish"])
    with database.transaction() as session:
        unreadable = queries.store(session, parse("fish"))
        query = session.get_one(Query, unreadable)
        query.canonical = "(fish"
    factories.edition(database, factories.record("Robots"), factories.record("Fish"))
    report = match.match_pending(database)
    assert (report.queries, report.matches) == (2, 1)
