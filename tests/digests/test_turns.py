"""Turns out of the ordinary: the first digest, weekly ones, pauses, and what comes at once; and the form of mails."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from sqlalchemy import select

from service.database import Database
from service.database.tables import Abstracts, Cadence, Delivery, DeliveryKind, DeliveryState, Digest, Reader, Weight
from service.delivery.recheck import recheck
from service.digests import plan
from service.mails.compose import Composed, Composer
from service.matching import match
from service.outbox import rows
from service.settings import Settings
from service.subscribers import accounts, instant, interests, pauses
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.consent import Visit
from service.subscribers.interests import Tuning
from tests import factories

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
"""A Tuesday."""
HERE = Visit("test")


def digests(database: Database) -> list[Digest]:
    with database.transaction() as session:
        return list(session.scalars(select(Digest).order_by(Digest.id)))


def stored(database: Database) -> Reader:
    with database.transaction() as session:
        return session.scalars(select(Reader)).one()


def edition(database: Database, *titles: str, now: datetime, abstract: str = "") -> None:
    records = [factories.record(title, **({"abstract": abstract} if abstract else {})) for title in titles]
    factories.edition(database, *records, now=now)
    match.match_pending(database, now=now)


def prefer(database: Database, settings: Settings, reader: int, preferences: Preferences, now: datetime) -> None:
    with database.transaction() as session:
        accounts.update(session, reader, settings, preferences, now=now)


def mails(database: Database, settings: Settings) -> list[EmailMessage]:
    claims = rows.claim(database, owner="test", limit=100, lease=timedelta(minutes=5), now=NOON + timedelta(days=400))
    with database.transaction() as session:
        made = Composer(settings).compose(session, claims)
    parsed = []
    for each in made:
        assert isinstance(each, Composed), each
        mail = message_from_bytes(each.content, policy=policy.default)
        assert all(part.defects == [] for part in mail.walk())
        parsed.append(mail)
    return parsed


def lasting(database: Database) -> None:
    """Deliveries of days long past, to be composed today."""
    with database.connection() as connection:
        connection.exec_driver_sql("UPDATE delivery SET deadline = NULL")


# ---- the first digest ------------------------------------------------------------------------------------------------


def test_the_first_digest_is_made_at_once_and_the_schedule_goes_on_without_its_papers(
    database: Database, settings: Settings
) -> None:
    edition(database, "Robots of Old", now=NOON - timedelta(days=9))
    edition(database, "Robots of Yesterday", now=NOON - timedelta(days=1))
    with database.transaction() as session:
        signup = Signup("ada@example.org", interests.from_queries(["robots"]), visit=HERE)
        reader = accounts.subscribe(session, settings, signup, now=NOON)
    for seconds in (0, 40):
        with database.transaction() as session:
            accounts.confirm(session, settings, reader, HERE, now=NOON + timedelta(seconds=seconds))
        plan.plan_due(database, settings, now=NOON + timedelta(seconds=seconds + 20))
    (first,) = digests(database)
    assert (first.slot, first.paper_ids) == (NOON, [2])
    assert stored(database).next_digest_at == datetime(2026, 11, 25, 7, tzinfo=UTC)
    edition(database, "Robots of Tomorrow", now=NOON + timedelta(hours=2))
    plan.plan_due(database, settings, now=NOON + timedelta(days=1))
    assert [each.paper_ids for each in digests(database)] == [[2], [3]]


def test_who_tunes_before_the_planner_came_still_gets_the_first_digest(database: Database, settings: Settings) -> None:
    edition(database, "Robots", now=NOON - timedelta(days=1))
    with database.transaction() as session:
        signup = Signup("ada@example.org", interests.from_queries(["robots"]), visit=HERE)
        reader = accounts.subscribe(session, settings, signup, now=NOON)
        accounts.confirm(session, settings, reader, HERE, now=NOON)
    prefer(database, settings, reader, Preferences(hour=21), NOON + timedelta(seconds=5))
    plan.plan_due(database, settings, now=NOON + timedelta(seconds=30))
    assert [each.slot for each in digests(database)] == [NOON]
    assert stored(database).next_digest_at == NOON.replace(hour=21)


# ---- weekly ----------------------------------------------------------------------------------------------------------


def test_a_weekly_mail_brings_the_week_and_its_subject_says_so(database: Database, settings: Settings) -> None:
    weekly = Preferences(weekdays=0b1000000, cadence=Cadence.WEEKLY)
    factories.reader(database, settings, queries=["robots"], preferences=weekly, now=NOON)
    for day in range(4):
        edition(database, f"Robots of Day {day}", now=NOON + timedelta(days=day))
        assert plan.plan_due(database, settings, now=NOON + timedelta(days=day, hours=3)).digests == 0
    plan.plan_due(database, settings, now=datetime(2026, 11, 29, 8, tzinfo=UTC))
    (digest,) = digests(database)
    assert (digest.slot, sorted(digest.paper_ids)) == (datetime(2026, 11, 29, 7, tzinfo=UTC), [1, 2, 3, 4])
    lasting(database)
    (mail,) = mails(database, settings)
    assert mail["Subject"].startswith("Your week: ")
    assert len(mail["Subject"]) <= 78


# ---- pauses ----------------------------------------------------------------------------------------------------------


def test_a_pause_keeps_mails_back_ends_by_itself_and_tells_once(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    until = Preferences(paused_until=date(2026, 12, 20), timezone="Europe/Berlin")
    prefer(database, settings, reader, until, NOON)
    assert stored(database).next_digest_at == datetime(2026, 12, 20, 6, tzinfo=UTC)
    edition(database, "Robots of the Holiday", now=NOON + timedelta(days=5))
    for everyone in (False, True):
        report = plan.plan_due(database, settings, now=NOON + timedelta(days=6), everyone=everyone)
        assert report.digests == 0
    assert pauses.end_due(database, settings, now=NOON + timedelta(days=6)) == 0
    over = datetime(2026, 12, 20, 1, tzinfo=UTC)
    edition(database, "Robots of the Return", now=over)
    assert [pauses.end_due(database, settings, now=over) for _ in range(2)] == [1, 0]
    plan.plan_due(database, settings, now=over.replace(hour=8))
    assert [each.paper_ids for each in digests(database)] == [[2]], "what came long before is passed over"
    with database.transaction() as session:
        told = session.scalars(select(Delivery).where(Delivery.kind == DeliveryKind.PAUSE_ENDED)).one()
    assert told.due_at == datetime(2026, 12, 20, 6, tzinfo=UTC), "at the reader's hour, not at midnight"


def test_a_digest_on_its_way_is_stopped_by_a_pause(database: Database, settings: Settings) -> None:
    now = datetime.now(UTC)
    reader = factories.reader(database, settings, queries=["robots"])
    edition(database, "Robots", now=now)
    plan.plan_due(database, settings, everyone=True)
    (claim,) = rows.claim(database, owner="sender", limit=9, lease=timedelta(minutes=5))
    prefer(database, settings, reader, Preferences(paused_until=(now + timedelta(days=9)).date()), now)
    with database.transaction() as session:
        assert recheck(session, settings, "sender", [claim.delivery_id]).cancelled == {
            claim.delivery_id: "the reader has paused"
        }


def test_a_waiting_digest_is_cancelled_and_an_ended_pause_takes_up_the_schedule(
    database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"], now=NOON)
    edition(database, "Robots", now=NOON)
    plan.plan_due(database, settings, now=NOON + timedelta(days=1))
    prefer(database, settings, reader, Preferences(paused_until=date(2026, 12, 20)), NOON + timedelta(days=1))
    with database.transaction() as session:
        assert session.scalars(select(Delivery.state)).all() == [DeliveryState.CANCELLED]
    prefer(database, settings, reader, Preferences(), NOON + timedelta(days=2))
    row = stored(database)
    assert (row.paused_until, row.next_digest_at) == (None, datetime(2026, 11, 27, 7, tzinfo=UTC))


# ---- at once ---------------------------------------------------------------------------------------------------------


def test_what_is_wanted_at_once_comes_at_once_but_once_an_hour_and_never_twice(
    database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots", "fish"], now=NOON)
    factories.reader(database, settings, queries=["robots"], now=NOON)
    with database.transaction() as session:
        held = {each.label: each.query_id for each in interests.of(session, reader)}
        interests.tune(session, reader, {held["robots"]: Tuning(instant=True)})
    edition(database, "Fish", now=NOON)
    assert instant.bring_forward(database, now=NOON) == 0, "not for this interest"
    for minutes, title, due in ((1, "Robots", 1), (30, "More Robots", 0), (62, "Trout", 1)):
        moment = NOON + timedelta(minutes=minutes)
        edition(database, title, now=moment)
        assert instant.bring_forward(database, now=moment) == due
        assert instant.bring_forward(database, now=moment) == 0, "twice is as good as once"
        plan.plan_due(database, settings, now=moment)
    assert [(each.reader_id, sorted(each.paper_ids)) for each in digests(database)] == [(reader, [1, 2]), (reader, [3])]
    plan.plan_due(database, settings, now=NOON + timedelta(days=1))
    assert sum(each.reader_id == reader for each in digests(database)) == 2, "nothing comes again at seven"


# ---- form ------------------------------------------------------------------------------------------------------------


def test_plain_text_mails_have_one_part_and_say_the_same(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, "html@example.org", queries=["robots"], now=NOON)
    plain = Preferences(plain_text=True)
    factories.reader(database, settings, "text@example.org", queries=["robots"], preferences=plain, now=NOON)
    edition(database, "Robots", now=NOON)
    plan.plan_due(database, settings, now=NOON + timedelta(days=1))
    lasting(database)
    rich, text = sorted(mails(database, settings), key=lambda mail: str(mail["To"]))
    assert text.get_content_type() == "text/plain"
    body = rich.get_body(("plain",))
    assert body is not None
    told = [" ".join(str(each).split("/preferences/")[0].split()) for each in (body.get_content(), text.get_content())]
    cut = told[0].index("/feedback/") if "/feedback/" in told[0] else len(told[0])
    assert told[0][:cut] == told[1][:cut]


def test_whole_abstracts_come_to_those_who_want_them(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, "a@example.org", queries=["robots"], now=NOON)
    full = Preferences(abstracts=Abstracts.FULL)
    factories.reader(database, settings, "b@example.org", queries=["robots"], preferences=full, now=NOON)
    abstract = "Robots are here. " * 80 + "The end of it."
    edition(database, "Robots", now=NOON, abstract=abstract)
    plan.plan_due(database, settings, now=NOON + timedelta(days=1))
    lasting(database)
    short, whole = sorted(mails(database, settings), key=lambda mail: str(mail["To"]))
    for kind in ("plain", "html"):
        bodies = [each.get_body((kind,)) for each in (short, whole)]
        assert ["The end of it." in str(each and each.get_content()) for each in bodies] == [False, True]


# ---- weight ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("robots", "fish", "expected"),
    [(Weight.NORMAL, Weight.NORMAL, 3), (Weight.MORE, Weight.NORMAL, 4), (Weight.NORMAL, Weight.LESS, 4)],
)
def test_weight_shifts_the_fair_share_of_a_crowded_digest(
    database: Database, settings: Settings, robots: Weight, fish: Weight, expected: int
) -> None:
    reader = factories.reader(
        database, settings, queries=["robots", "fish"], preferences=Preferences(paper_limit=6), now=NOON
    )
    with database.transaction() as session:
        held = {each.label: each.query_id for each in interests.of(session, reader)}
        interests.tune(session, reader, {held["robots"]: Tuning(robots), held["fish"]: Tuning(fish)})
    edition(database, *(f"{name} {n}" for n in range(9) for name in ("Robots", "Fish")), now=NOON)
    plan.plan_due(database, settings, now=NOON + timedelta(days=1))
    (digest,) = digests(database)
    assert sum(paper % 2 for paper in digest.paper_ids) == expected, "robots have the odd numbers"
    assert len(digest.paper_ids) == 6
