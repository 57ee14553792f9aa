"""One real PostgreSQL for the session, one database for each pytest-xdist process, emptied after each test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text
from starlette.routing import Mount

from service.database import Database, migrations, months
from service.database.embedded import EmbeddedPostgres
from service.database.tables import Base
from service.settings import Settings
from service.web.app import create_app
from service.web.site import Site

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real input beside the checkout, where the developers have it; never part of the repository."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("real input (../shared/data) is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A throw-away embedded PostgreSQL that trades durability for speed."""
    folder = Path(tempfile.mkdtemp(prefix="paperround-test-"))
    server = EmbeddedPostgres(folder / "postgres")
    url = server.start()
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("ALTER SYSTEM SET synchronous_commit = off"))
        connection.execute(text("ALTER SYSTEM SET full_page_writes = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    yield url
    server.release()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_url(server_url: str) -> str:
    """The URL of a database with the newest schema and no rows."""
    with Database(server_url) as database:
        migrations.upgrade(database)
    return server_url


@pytest.fixture
def home() -> Iterator[Path]:
    """A data folder for an embedded database. Not under pytest's own, whose parents are closed to the user that
    PostgreSQL runs as where the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="paperround-home-"))
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A redis-server of the test's own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not on this machine")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    arguments = [program, "--port", str(port), "--dir", str(tmp_path), "--save", "", "--loglevel", "warning"]
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """An open database without rows."""
    with Database(migrated_url) as database:
        with database.connection() as connection:
            # Of a process that a test without this fixture has started: other secrets would be refused.
            connection.exec_driver_sql("DELETE FROM hash_key")
        yield database
        _emptied(database)


# TRUNCATE gives every table and index a new file, which takes longer than most tests; but rows that are deleted one by
# one stay until the next vacuum. Neither keys nor the triggers of what is only ever appended to stand in the way.
_EMPTIED = """
    DO $$
    DECLARE tables text[] := string_to_array('{tables}', ' '); each text; held bool;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOREACH each IN ARRAY tables LOOP
            EXECUTE 'SELECT EXISTS (SELECT FROM ' || each || ' OFFSET 1000)' INTO held;
            IF held THEN
                EXECUTE 'TRUNCATE ' || array_to_string(tables, ', ') || ' RESTART IDENTITY CASCADE';
                RETURN;
            END IF;
            EXECUTE 'SELECT EXISTS (SELECT FROM ' || each || ')' INTO held;
            IF held THEN
                EXECUTE 'DELETE FROM ' || each;
            END IF;
        END LOOP;
        -- A test may have let retention drop what is to come.
        IF to_regclass('delivery_{month}') IS NULL THEN
            PERFORM make_month({number} + ahead) FROM generate_series(0, 2) AS ahead;
        END IF;
        PERFORM setval((schemaname || '.' || sequencename)::regclass, 1, false)
            FROM pg_sequences WHERE last_value IS NOT NULL;
    END $$
"""


def _emptied(database: Database) -> None:
    """Leave no row, and let every number begin at one again."""
    names, now = " ".join(table.name for table in Base.metadata.sorted_tables), datetime.now(UTC)
    statement = _EMPTIED.format(tables=names, month=f"{now:%Y_%m}", number=months.month_of(now))
    with database.connection() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def settings(tmp_path: Path, migrated_url: str) -> Settings:
    """Settings of an imaginary production site on the test database; the relay is nowhere until a test says where."""
    return _production(tmp_path, migrated_url)


def _production(home: Path, migrated_url: str) -> Settings:
    return Settings(
        home=home,
        database_url=migrated_url,
        secret=SecretStr("a-secret-that-only-the-tests-know-0123456789"),
        site_url="https://papers.example",
        sender="Paperround <digest@papers.example>",
        smtp_url="smtp://127.0.0.1:9",
        postal_address="1 Example Street, Exampletown",
        allow_private_sources=True,
        page_seconds=0,
        form_seconds=0,
        signups_per_address_hour=0,
        signups_per_network_hour=0,
        api_requests_per_minute=10_000,
    )


@pytest.fixture(scope="session")
def standing_site(tmp_path_factory: pytest.TempPathFactory, migrated_url: str) -> FastAPI:
    """The whole site, for :func:`browser`: building it takes longer than most tests of it."""
    return create_app(_production(tmp_path_factory.mktemp("site"), migrated_url), Database(migrated_url))


@pytest.fixture
def browser(standing_site: FastAPI, database: Database) -> Iterator[TestClient]:
    """A browser without cookies on a site that remembers nothing."""
    held = vars(standing_site.state.site)
    for name, each in vars(Site).items():
        if isinstance(each, cached_property) and name not in _PARTS_OF_THE_PROGRAM:
            held.pop(name, None)
    held["database"] = database
    api = next(each.app for each in standing_site.routes if isinstance(each, Mount) and each.name == "api")
    assert isinstance(api, FastAPI)
    # Middleware is built anew with the first request, and what it holds with it.
    standing_site.middleware_stack = api.middleware_stack = None
    with TestClient(standing_site, base_url="https://papers.example", follow_redirects=False) as client:
        yield client


_PARTS_OF_THE_PROGRAM: Final = {"_templates", "preview"}
"""What a site keeps of itself, not of what it was asked."""
