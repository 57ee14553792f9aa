"""From the first release with rows in every table to the newest schema, and the application goes on with them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from threading import Event

import pytest
from alembic import command
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.exc import IntegrityError, InternalError

from service import backup, retention, rounds
from service.database import Database, migrations, months
from service.database.tables import Delivery, DeliveryState, Reader, ReaderState
from service.matching import language
from service.matching.expression import canonical
from service.papers import ingest
from service.readiness import prepare
from service.settings import Settings
from service.subscribers import suppression
from service.subscribers.addresses import hashed
from service.subscribers.tokens import Links
from service.web.app import create_app
from tests import factories
from tests.delivery.servers import sink

NOW = datetime.now(UTC)
YESTERDAY = NOW.date() - timedelta(days=1)


@pytest.fixture
def url(server_url: str) -> Iterator[str]:
    """An empty database of its own on the server of the tests."""
    server = create_engine(make_url(server_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE upgraded"))
    yield make_url(server_url).set(database="upgraded").render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE upgraded WITH (FORCE)"))
    server.dispose()


FIRST_RELEASE = """
INSERT INTO edition (id, cut_at, paper_count) VALUES (1, now() - interval '1 day', 2);
INSERT INTO paper (title, abstract, authors, author_count, categories, listed_on, featured_on,
                   title_key, published_on, edition_id)
VALUES ('Walking Robots', 'Robots that walk.', '{"Invented Author"}', 1, '{cs.RO}', :day, :day,
        'walkingrobots', :day, 1),
       ('Talking Robots', 'Robots that talk.', '{"Invented Author"}', 1, '{cs.CL}', :day, NULL,
        'talkingrobots', :day, 1);
INSERT INTO paper_identifier (scheme, value, paper_id)
VALUES ('arxiv', '9902.00001', 1), ('arxiv', '9902.00002', 2);
INSERT INTO sighting (paper_id, source, listed_on) VALUES (1, 'huggingface', :day), (2, 'arxiv', :day);
INSERT INTO ingest (source, origin, started_at, finished_at, seen, new, updated, rejected)
VALUES ('arxiv', 'a test', now() - interval '1 day', now() - interval '1 day', 2, 2, 0, 1);
INSERT INTO ingest_problem (ingest_id, position, problem) VALUES (1, 'row 3', 'has no title');
INSERT INTO query (canonical, digest) VALUES (:robots, :robots_digest);
INSERT INTO match (edition_id, query_id, paper_ids, scores) VALUES (1, 1, '{1,2}', '{2,1}');
INSERT INTO reader (email, address_key, state, paper_limit, confirmed_at, next_digest_at,
                    last_edition_id)
VALUES ('ada@example.org', 'ada@example.org', 'active', 12, now() - interval '2 days',
        now() - interval '1 minute', 1),
       ('new@example.org', 'new@example.org', 'pending', 12, NULL, NULL, 0),
       ('left@example.org', 'left@example.org', 'unsubscribed', 12, now() - interval '9 days', NULL, 0);
INSERT INTO interest (reader_id, query_id, label) VALUES (1, 1, 'robots'), (2, 1, 'robots');
INSERT INTO consent_event (reader_id, address_hash, kind, wording, origin, ip)
VALUES (1, :ada, 'requested', 'Yes.', 'subscribe', '203.0.113.9');
INSERT INTO digest (reader_id, slot, first_edition_id, last_edition_id, paper_ids, reason_papers,
                    reason_queries, matched)
VALUES (1, now() - interval '1 day', 1, 1, '{1,2}', '{0,1}', '{1,1}', 2);
INSERT INTO delivery (kind, priority, reader_id, digest_id, message_id, state, reply, settled_at)
VALUES ('digest', 5, 1, 1, 'first@papers.example', 'sent', '250 Ok', now() - interval '1 day'),
       ('confirm', 0, 2, NULL, 'second@papers.example', 'queued', NULL, NULL);
INSERT INTO suppression (address_hash, reason, detail) VALUES (:left, 'operator', 'asked to');
"""
"""What the first release left after one round: two papers, three readers, one digest sent."""


def first_release(database: Database, settings: Settings) -> None:
    robots = canonical(language.parse("robots"))
    values: dict[str, object] = {
        "day": YESTERDAY,
        "robots": robots,
        "robots_digest": hashlib.sha256(robots.encode()).digest(),
        "ada": hashed(settings, "ada@example.org"),
        "left": hashed(settings, "left@example.org"),
    }
    with database.connection() as connection:
        command.upgrade(migrations.configuration(connection), "0001")
        for one in FIRST_RELEASE.split(";\n"):
            statement = text(one)
            connection.execute(statement, {name: values[name] for name in statement.compile().params})


def test_the_first_release_with_its_data_becomes_this_one_and_goes_on(url: str, settings: Settings) -> None:
    with Database(url) as database, sink() as server:
        used = settings.model_copy(update={"database_url": url, "smtp_url": f"smtp://127.0.0.1:{server.port}"})
        first_release(database, used)
        assert migrations.pending(database)[0] == "0002"
        prepare(database)
        assert migrations.pending(database) == []

        with database.transaction() as session:
            assert suppression.contains(session, hashed(used, "left@example.org"))
            states = dict(session.execute(select(Reader.email, Reader.state)).all())
        assert states["ada@example.org"] == ReaderState.ACTIVE
        assert states["left@example.org"] == ReaderState.UNSUBSCRIBED

        again = factories.Listed(factories.record("A Third Paper on Robots"))
        assert ingest.ingest(database, again, factories.TODAY).new == 1
        report = rounds.run(database, used)
        assert (report.edition, report.papers, report.readers, report.queued) == (2, 1, 1, 1)
        assert server.recipients == ["ada@example.org", "new@example.org"], "what was queued before goes out, too"
        (digest,) = (content for recipient, content in server.accepted if recipient == "ada@example.org")
        mail = message_from_bytes(digest, policy=default)
        body = mail.get_body(("plain",))
        assert body is not None
        assert "A Third Paper on Robots" in body.get_content()
        assert "Walking Robots" not in body.get_content(), "nobody is mailed a paper twice"
        assert rounds.run(database, used).queued == 0

        with TestClient(create_app(used, database), base_url="https://papers.example") as browser:
            assert browser.get("/readyz").text == "ready\n"
            assert "Walking Robots" in browser.get(f"/day/{YESTERDAY}").text
            assert "Talking Robots" in browser.get("/search", params={"q": "talking robots"}).text
            path = Links(used).unsubscribe(1).removeprefix("https://papers.example")
            assert browser.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
        with database.transaction() as session:
            assert session.get_one(Reader, 1).state == ReaderState.UNSUBSCRIBED
            assert set(session.scalars(select(Delivery.state))) == {DeliveryState.SENT}


# ---- digests and deliveries by the month ---------------------------------------------------------------------------

# As the version before the months did it.
DRAWN_BEFORE = text("SELECT nextval(pg_get_serial_sequence('digest', 'id')::regclass)")
DIGEST_BEFORE = text("""
    INSERT INTO digest (id, reader_id, slot, first_edition_id, last_edition_id, paper_ids, reason_papers,
        reason_queries, matched) VALUES (:id, 1, :slot, 1, 1, '{1}', '{0}', '{1}', 1)
""")
DELIVERY_BEFORE = text("""
    INSERT INTO delivery (kind, priority, reader_id, digest_id, message_id)
    VALUES ('digest', 5, 1, :id, 'before@papers.example')
""")
HELD = {
    "digest": text("SELECT * FROM digest ORDER BY id"),
    "delivery": text("SELECT * FROM delivery ORDER BY id"),
}


def _at(database: Database, revision: str) -> None:
    with database.engine.connect() as connection:
        command.upgrade(migrations.configuration(connection), revision)


def _rows(database: Database, table: str) -> list[dict[str, object]]:
    with database.connection() as connection:
        return [dict(row) for row in connection.execute(HELD[table]).mappings()]


def _one_more(database: Database, slot: datetime) -> int:
    with database.connection() as connection:
        drawn = int(connection.scalar(DRAWN_BEFORE) or 0)
        connection.execute(DIGEST_BEFORE, {"id": drawn, "slot": slot})
        connection.execute(DELIVERY_BEFORE, {"id": drawn})
    return drawn


def test_what_was_there_before_the_months_stays_and_the_version_before_goes_on(url: str, settings: Settings) -> None:
    with Database(url) as database:
        first_release(database, settings)
        _at(database, "0016")
        before = {table: _rows(database, table) for table in HELD}

        migrations.upgrade(database)

        assert {table: _rows(database, table) for table in HELD} == before
        with database.connection() as connection:
            (old,) = (each for each in months.held(connection) if each.before)
            kept_in = set(connection.scalars(text("SELECT tableoid::regclass::text FROM digest")))
        assert kept_in == {f"digest_{old.name}"}
        assert months.beginning(old.end) - NOW > timedelta(days=28), "so long the version before may go on"

        late = NOW.replace(microsecond=0)
        assert _one_more(database, late) > max(int(str(row["id"])) for row in before["digest"])
        newest = _rows(database, "delivery")[-1]
        assert newest["id"] == months.first_id(months.month_of(NOW)) | (int(str(newest["digest_id"])) + 1)
        number = months.first_id(months.month_of(late)) | 99
        for values, refused in (
            ({"id": number, "slot": late}, "unique"),  # this version, of a slot that the other has planned
            ({"id": 99, "slot": months.beginning(old.end)}, "check"),  # the other, when the months have begun
        ):
            with pytest.raises(IntegrityError, match=refused), database.connection() as connection:
                connection.execute(DIGEST_BEFORE, values)
        with pytest.raises(IntegrityError, match="unique"), database.connection() as connection:
            connection.execute(DELIVERY_BEFORE, {"id": newest["digest_id"]})


def test_of_before_the_months_each_row_goes_in_its_time_and_the_rest_at_once(url: str, settings: Settings) -> None:
    with Database(url) as database:
        first_release(database, settings)
        migrations.upgrade(database)
        _one_more(database, NOW)

        report = retention.apply(database, settings, now=NOW + timedelta(days=400))
        assert (report.months, report.deliveries) == (0, 1)
        assert [row["state"] for row in _rows(database, "delivery")] == ["queued", "queued"]
        with database.connection() as connection:
            connection.execute(text("UPDATE delivery SET state = 'sent', settled_at = now()"))
        assert retention.apply(database, settings, now=NOW + timedelta(days=600)).months == 2
        with database.connection() as connection:
            assert months.held(connection) == []
        prepare(database)
        with database.connection() as connection:
            assert len(months.held(connection)) == 1 + months.AHEAD


def test_the_exchange_waits_for_who_is_at_work_and_keeps_nobody_waiting(url: str, settings: Settings) -> None:
    with Database(url) as database, Database(url) as other, ThreadPoolExecutor(2) as pool:
        first_release(database, settings)
        _at(database, "0016")
        done, failed = Event(), []
        with other.connection() as planner:
            # It has a number, and writes its digest later.
            drawn = planner.scalar(DRAWN_BEFORE)
            upgrading = pool.submit(migrations.upgrade, database)

            def work() -> float:
                longest, count = 0.0, 0
                while not done.is_set():
                    started, count = time.monotonic(), count + 1
                    try:
                        _one_more(other, NOW - timedelta(days=2, seconds=count))
                    except InternalError as error:  # it asked for a number while the sequences were exchanged
                        failed.append(str(error))
                    longest = max(longest, time.monotonic() - started)
                return longest

            working = pool.submit(work)
            time.sleep(1.5)
            assert not upgrading.done()
            planner.execute(DIGEST_BEFORE, {"id": drawn, "slot": NOW})
            planner.execute(DELIVERY_BEFORE, {"id": drawn})
        upgrading.result(timeout=60)
        _one_more(other, NOW - timedelta(hours=1))
        done.set()
        assert working.result(timeout=60) < 5
        assert len(failed) <= 1
        digests, deliveries = _rows(database, "digest"), _rows(database, "delivery")
        assert len({row["id"] for row in digests}) == len(digests) == len(deliveries) - 1


def test_a_backup_of_before_the_months_is_put_back(url: str, settings: Settings, tmp_path: Path) -> None:
    with Database(url) as database:
        first_release(database, settings)
        _at(database, "0016")
        before = {table: _rows(database, table) for table in HELD}
        assert backup.backup(database, settings, tmp_path / "old.backup").schema == "0016"
        migrations.upgrade(database)

        backup.restore(database, settings, tmp_path / "old.backup", replace=True)

        assert {table: _rows(database, table) for table in HELD} == before
        assert migrations.pending(database) == []
        _one_more(database, NOW)
