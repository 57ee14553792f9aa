from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from service.database import Database
from service.database.tables import Delivery, Digest, Reader
from service.digests import plan
from service.matching import match
from service.settings import Settings
from service.subscribers import interests
from service.subscribers.accounts import Preferences
from service.subscribers.interests import Wish
from tests import factories

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
"""After the slot at seven."""


def digests(database: Database) -> dict[int, Digest]:
    with database.transaction() as session:
        found = session.scalars(select(Digest)).all()
    assert len({(each.reader_id, each.slot) for each in found}) == len(found)
    return {each.reader_id: each for each in found}


def test_each_due_reader_gets_what_matches_and_nothing_else(database: Database, settings: Settings) -> None:
    robots = factories.reader(database, settings, queries=["robots"], now=NOON)
    fish = factories.reader(database, settings, queries=["fish", "robots"], muted=["survey"], now=NOON)
    birds = factories.reader(database, settings, queries=["birds"], now=NOON)
    factories.edition(
        database,
        factories.record("Robots"),
        factories.record("Fish and Robots"),
        factories.record("A Survey of Fish"),
        factories.record("Nothing of Interest"),
        now=NOON,
    )
    report = plan.plan_due(database, settings, now=TOMORROW)
    assert (report.readers, report.digests) == (3, 2)
    found = digests(database)
    assert set(found[robots].paper_ids) == {1, 2}
    assert found[fish].paper_ids == [2, 1], "two interests before one; the survey is muted"
    assert found[fish].matched == 2
    assert len(found[fish].reason_queries) == 3
    assert birds not in found
    assert found[robots].slot == datetime(2026, 11, 25, 7, 0, tzinfo=UTC)
    with database.transaction() as session:
        assert set(session.scalars(select(Reader.next_digest_at))) == {datetime(2026, 11, 26, 7, 0, tzinfo=UTC)}
        assert set(session.scalars(select(Reader.last_edition_id))) == {1}
        assert session.scalars(select(func.count()).select_from(Delivery)).one() == 2
    assert plan.plan_due(database, settings, now=TOMORROW).readers == 0


def test_nobody_is_planned_before_their_hour(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    assert plan.plan_due(database, settings, now=NOON + timedelta(hours=1)).readers == 0


def test_a_paper_is_considered_once_per_reader(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    assert plan.plan_due(database, settings, now=NOON, everyone=True).digests == 1
    assert plan.plan_due(database, settings, now=NOON, everyone=True).digests == 0
    factories.edition(database, factories.record("More Robots"), now=NOON)
    assert plan.plan_due(database, settings, now=TOMORROW).digests == 1
    with database.transaction() as session:
        sent = session.scalars(select(Digest.paper_ids).where(Digest.reader_id == reader).order_by(Digest.id)).all()
    assert sent == [[1], [2]]


def test_planning_everyone_leaves_their_schedule_alone(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    report = plan.plan_due(database, settings, now=NOON, everyone=True)
    assert report.slot == NOON
    with database.transaction() as session:
        assert session.scalars(select(Reader.next_digest_at)).one() == datetime(2026, 11, 25, 7, 0, tzinfo=UTC)


def test_the_readers_limit_holds_and_the_rest_is_counted(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], preferences=Preferences(paper_limit=3), now=NOON)
    factories.edition(database, *(factories.record(f"Robots {n}") for n in range(10)), now=NOON)
    plan.plan_due(database, settings, now=TOMORROW)
    assert (len(digests(database)[reader].paper_ids), digests(database)[reader].matched) == (3, 10)


def test_planners_at_once_plan_nobody_twice(database: Database, settings: Settings) -> None:
    small = settings.model_copy(update={"plan_chunk": 7})
    for _ in range(40):
        factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    match.match_pending(database, now=TOMORROW)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: plan.plan_due(database, small, now=TOMORROW), range(4)))
    assert sum(report.digests for report in reports) == 40
    assert len(digests(database)) == 40


def test_a_crash_in_a_chunk_leaves_nothing_of_it(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(plan, "_advance", die)
        with pytest.raises(KeyboardInterrupt):
            plan.plan_due(database, settings, now=TOMORROW)
    assert digests(database) == {}
    assert plan.plan_due(database, settings, now=TOMORROW).digests == 1


def test_days_of_standstill_give_one_digest_for_the_newest_slot(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    for _ in range(3):
        factories.edition(database, factories.record("Robots"), now=NOON)
    plan.plan_due(database, settings, now=NOON + timedelta(days=4))
    found = digests(database)[reader]
    assert found.slot == datetime(2026, 11, 28, 7, 0, tzinfo=UTC)
    assert (found.first_edition_id, found.last_edition_id, len(found.paper_ids)) == (1, 3, 3)


def test_an_interest_taken_up_after_matching_counts(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = factories.reader(database, settings, queries=["fish"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    match.match_pending(database, now=NOON)
    with database.transaction() as session:
        interests.replace(session, reader, [Wish("robots", "robots")])
    monkeypatch.setattr(match, "match_pending", lambda *_, **__: None)
    assert plan.plan_due(database, settings, now=TOMORROW).digests == 1


def test_a_reader_long_away_gets_two_weeks_not_years(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Old Robots"), now=NOON - timedelta(days=20))
    factories.edition(database, factories.record("New Robots"), now=NOON)
    with database.transaction() as session:
        session.execute(update(Reader).values(last_edition_id=0))
    plan.plan_due(database, settings, now=TOMORROW)
    assert digests(database)[reader].paper_ids == [2]


def test_a_peek_shows_the_same_and_changes_nothing(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    factories.edition(database, factories.record("Robots"), now=NOON)
    draft = plan.peek(database, reader, now=NOON)
    assert draft is not None
    assert draft.paper_ids == [1]
    assert digests(database) == {}
    plan.plan_due(database, settings, now=TOMORROW)
    assert digests(database)[reader].paper_ids == [1]
    assert plan.peek(database, reader, now=TOMORROW) is None
    with pytest.raises(LookupError):
        plan.peek(database, 12345)
