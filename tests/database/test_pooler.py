"""The daily work through PgBouncer in transaction mode, over fewer connections than there are clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text, update

from service import rounds
from service.database import Database
from service.database.tables import Delivery, Reader
from service.delivery import crew
from service.papers import ingest
from service.papers.fetching.state import Stored
from service.settings import Settings
from service.subscribers import importing
from service.subscribers.importing import ImportOptions
from service.subscribers.topics import catalogue
from service.web.app import create_app
from tests import factories
from tests.database.pooler import Pooler, pooler, program
from tests.delivery.servers import sink

POOL = 3
READERS = 60


@pytest.fixture
def pooled(database: Database) -> Iterator[Pooler]:
    command = program()
    if command is None:
        pytest.skip("pgbouncer is not on this machine")
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with pooler(command, url, pool_size=POOL) as running:
        yield running


@pytest.fixture
def used(pooled: Pooler, settings: Settings) -> Settings:
    return settings.model_copy(update={"database_url": pooled.url, "prepared_statements": pooled.prepared})


def behind(database: Database) -> int:
    """Connections that PostgreSQL holds, but for the one that asks."""
    with database.connection() as connection:
        return int(
            connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
            ).scalar_one()
        )


def test_a_whole_round_with_two_sender_processes_and_readers_on_the_site(
    database: Database, used: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "WORTH_A_PROCESS", 10)
    catalogue.sync(database)
    listed = tmp_path / "list.csv"
    listed.write_text("email,queries\n" + "".join(f"r{number}@example.org,robots\n" for number in range(READERS)))
    database.engine.dispose()
    ended = threading.Event()

    def browse(site: TestClient) -> int:
        asked = 0
        while not ended.is_set():
            for path in ("/", "/search?q=robots", "/papers/1", "/readyz"):
                assert site.get(path).status_code == 200, path
                asked += 1
        return asked

    def watch() -> int:
        most = 0
        while not ended.wait(0.05):
            most = max(most, behind(database))
        return most

    with (
        Database.open(used) as hands,
        Database.open(used) as pages,
        TestClient(create_app(used, pages), base_url="https://papers.example") as site,
        ThreadPoolExecutor(3) as visitors,
        sink() as server,
    ):
        sending = used.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"})
        report = importing.run(hands, sending, listed, ImportOptions(consent="Signed up at the library desk"))
        assert report.entered == READERS
        ingest.ingest(hands, factories.Listed(factories.record("Walking Robots")), factories.TODAY)
        asked = [visitors.submit(browse, site) for _ in range(2)]
        held = visitors.submit(watch)
        try:
            assert rounds.cut_and_match(hands) is not None
            assert rounds.plan_due(hands, sending, everyone=True).digests == READERS
            sent = crew.send_due_together(hands, sending, processes=2).sent
        finally:
            ended.set()
        assert sum(each.result() for each in asked) >= 8
        assert sent == READERS
        assert sorted(server.recipients) == sorted(f"r{number}@example.org" for number in range(READERS))
    assert 0 < held.result() <= POOL
    with database.transaction() as session:
        states = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
    assert [tuple(each) for each in states] == [("sent", READERS)]


def test_turns_at_a_host_and_statements_said_often_outlive_a_change_of_connection(
    database: Database, used: Settings
) -> None:
    factories.reader(database, used)
    inside: list[int] = []
    with Database.open(used) as one, Database.open(used) as other, ThreadPoolExecutor(2) as hands:

        def take_turns(opened: Database) -> None:
            for _ in range(10):
                with Stored(opened).turn("papers.example", 20):
                    inside.append(1)
                    assert len(inside) == 1, "two had their turn at once"
                    with opened.transaction() as session:
                        session.execute(update(Reader).values(paper_limit=Reader.paper_limit % 50 + 1))
                    inside.pop()

        for each in [hands.submit(take_turns, opened) for opened in (one, other)]:
            each.result()
        with database.connection() as connection:
            left = connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one()
            zones = connection.execute(select(Reader.paper_limit)).scalar_one()
        assert left == 0
        assert zones == (12 + 20 - 1) % 50 + 1
        for opened in (one, other):
            with opened.connection() as connection:
                assert connection.execute(text("SHOW TIME ZONE")).scalar_one() == "UTC"
