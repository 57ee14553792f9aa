"""One real PostgreSQL for the session, one database for each pytest-xdist process, emptied after each test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, delete, func, literal, make_url, select, text

from service.database import Database, migrations, months
from service.database.embedded import EmbeddedPostgres
from service.database.tables import Base
from service.settings import Settings

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
        yield database
        _emptied(database)


_MOST_DELETED = 1_000
"""Rows of a table that are deleted one by one. TRUNCATE gives every table and index a new file, which takes longer than
most tests; but what is deleted stays until the next vacuum."""


def _emptied(database: Database) -> None:
    """Leave no row, and let every number begin at one again."""
    tables = Base.metadata.sorted_tables
    this_month = func.to_regclass(f"delivery_{datetime.now(UTC):%Y_%m}")
    some = [select(literal(1)).select_from(table).limit(_MOST_DELETED + 1).subquery() for table in tables]
    counts = [select(func.count()).select_from(each).scalar_subquery() for each in some]
    with database.connection() as connection:
        *held, whole = connection.execute(select(*counts, this_month)).one()
        if max(held) > _MOST_DELETED:
            names = ", ".join(f'"{table.name}"' for table in tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
            return
        if whole is None:  # a test has let retention drop what is to come
            for month in range(3):
                connection.execute(
                    text("SELECT make_month(:month)"), {"month": months.month_of(datetime.now(UTC)) + month}
                )
        # Neither keys nor the triggers of what is only ever appended to stand in the way.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table, count in zip(tables, held, strict=True):
            if count:
                connection.execute(delete(table))
        connection.execute(
            text(
                "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false) FROM pg_sequences"
                " WHERE last_value IS NOT NULL"
            )
        )


@pytest.fixture
def settings(tmp_path: Path, migrated_url: str) -> Settings:
    """Settings of an imaginary production site on the test database; the relay is nowhere until a test says where."""
    return Settings(
        home=tmp_path,
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
