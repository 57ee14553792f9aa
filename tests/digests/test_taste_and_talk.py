"""Feedback changes the order and nothing else; what everybody talks about stands apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from service.database import Database
from service.database.tables import Digest, Paper, Reader
from service.digests import plan
from service.settings import Settings
from service.subscribers import feedback
from service.subscribers.accounts import Preferences
from tests import factories

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TOMORROW = NOON + DAY


def latest(database: Database, reader: int) -> Digest:
    with database.transaction() as session:
        statement = select(Digest).where(Digest.reader_id == reader).order_by(Digest.id.desc()).limit(1)
        return session.scalars(statement).one()


def test_what_a_reader_liked_raises_what_is_like_it_for_them_alone(database: Database, settings: Settings) -> None:
    fond, plain = (factories.reader(database, settings, queries=["robots"], now=NOON) for _ in range(2))
    factories.edition(
        database,
        factories.record("Robots That Swim", abstract="Fins and gills in water."),
        factories.record("Robots That Fly", abstract="Wings and feathers in the air."),
        now=NOON,
    )
    with database.transaction() as session:
        feedback.give(session, fond, 2, liked=True)
        feedback.give(session, fond, 1, liked=False)
    factories.edition(
        database,
        factories.record("Robots, Part One", abstract="Fins and gills once more."),
        factories.record("Robots, Part Two", abstract="Feathers and wings once more."),
        factories.record("Robots, Part Three", abstract="Something else."),
        now=NOON,
    )
    plan.plan_due(database, settings, now=TOMORROW)
    assert latest(database, plain).paper_ids == [1, 2, 3, 4, 5]
    found = latest(database, fond)
    assert sorted(found.paper_ids) == [1, 2, 3, 4, 5], "nothing is added or left out"
    assert [paper for paper in found.paper_ids if paper > 2] == [4, 5, 3]
    with database.transaction() as session:
        feedback.reset(session, fond)
        session.execute(update(Reader).values(last_edition_id=0))
    plan.plan_due(database, settings, now=TOMORROW + DAY)
    assert latest(database, fond).paper_ids == [1, 2, 3, 4, 5]


def test_what_everybody_talks_about_stands_apart_and_is_counted_nowhere(database: Database, settings: Settings) -> None:
    wants = factories.reader(database, settings, queries=["robots"], muted=["survey"], now=NOON)
    other = factories.reader(database, settings, queries=["robots"], now=NOON)
    with database.transaction() as session:
        session.execute(update(Reader).where(Reader.id == other).values(trending=False))
    factories.edition(
        database,
        factories.record("Robots", upvotes=90),
        factories.record("A Survey of Birds", upvotes=80),
        factories.record("Fish", upvotes=70),
        factories.record("Little Noticed", upvotes=1),
        *(factories.record(f"Birds, Part {part}", upvotes=60 - part) for part in range(4)),
        now=NOON,
    )
    plan.plan_due(database, settings, now=TOMORROW)
    found = latest(database, wants)
    assert (found.paper_ids, found.matched) == ([1], 1)
    assert found.trending_ids == [3, 5, 6], "not the digest's own, not what is muted, and only a few"
    assert latest(database, other).trending_ids == []


def test_a_paper_featured_after_its_edition_is_shown_once_to_those_who_were_not_sent_it(
    database: Database, settings: Settings
) -> None:
    had, not_yet = (
        factories.reader(database, settings, queries=queries, now=NOON) for queries in (["robots"], ["fish"])
    )
    factories.edition(database, factories.record("Robots"), factories.record("Fish"), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    with database.transaction() as session:
        session.execute(update(Paper).where(Paper.id == 1).values(featured_on=(NOON + DAY).date(), upvotes=50))
    for number in (1, 2):
        factories.edition(database, factories.record("More Robots and Fish"), now=NOON + number * DAY)
        plan.plan_due(database, settings, now=TOMORROW + number * DAY)
        assert latest(database, had).trending_ids == []
        assert latest(database, not_yet).trending_ids == ([1] if number == 1 else [])


def test_talk_alone_makes_no_digest(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Fish", upvotes=900), now=NOON)
    assert plan.plan_due(database, settings, now=TOMORROW).digests == 0


@pytest.mark.parametrize("block", [1, 3, 2_000_000])
def test_readers_are_given_the_same_however_few_are_ranked_at_a_time(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("service.digests.candidates._BLOCK", block)
    two = Preferences(paper_limit=2)
    readers = [factories.reader(database, settings, queries=["robots", "fish"], preferences=two, now=NOON)
               for _ in range(3)]  # fmt: skip
    factories.edition(database, *(factories.record(f"Robots {number}") for number in range(4)), now=NOON)
    factories.edition(database, factories.record("Of Fish"), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    for reader in readers:
        found = latest(database, reader)
        assert (found.paper_ids, found.matched) == ([1, 5], 5)
        assert len(found.reason_queries) == 2
        assert plan.rest(database, found.id) == [2, 3, 4]
    with pytest.raises(LookupError):
        plan.rest(database, 12345)
