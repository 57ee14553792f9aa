"""One door to PostgreSQL: an engine, its sessions, and who starts the server behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, cast

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service import tracing
from service.database import statements
from service.database.embedded import EmbeddedPostgres
from service.settings import Settings

OLDEST_SERVER = 150_000
"""``server_version_num`` of the oldest PostgreSQL served."""


class DatabaseError(Exception):
    """The database cannot be used. The message is one line: what is wrong and the remedy."""


class Database:
    """An open database. Use as a context manager, or call :meth:`close`.

    Every write in the program happens inside :meth:`transaction` (commit on success, roll back on any error),
    so nothing is ever half-written.
    """

    def __init__(
        self, url: str, *, server: EmbeddedPostgres | None = None, pool_size: int = 10, prepared: bool = True
    ) -> None:
        """``prepared``: whether statements said often are prepared (``Settings.prepared_statements``)."""
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self.engine: Engine = create_engine(
            parsed,
            pool_pre_ping=True,
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=20,
            connect_args={} if prepared else {"prepare_threshold": None},
        )
        self._server = server
        event.listen(self.engine, "connect", _speak_utc)
        if tracing.on():
            statements.watch(self.engine)

    @classmethod
    def open(cls, settings: Settings, *, own: bool = True) -> Self:
        """Open what the settings name and check that it answers.

        Embedded mode: starts the server if it is not running and, with ``own``, stops it again when the last
        owner closes. Processes below ``paperround up`` pass ``own=False``: they join, they never start or stop.

        Raises :class:`DatabaseError`.
        """
        server = None
        if settings.database_url is not None:
            url = settings.database_url
        else:
            server = EmbeddedPostgres(settings.home / "postgres")
            try:
                url = server.start() if own else server.join()
            except OSError as error:
                raise DatabaseError(str(error)) from error
        database = cls(url, server=server if own else None, prepared=settings.prepared_statements)
        try:
            with database.engine.connect() as connection:
                version = raw(connection).info.server_version
        except OperationalError as error:
            database.close()
            reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
            raise DatabaseError(
                f"the database does not answer ({reason}): check PAPERROUND_DATABASE_URL and that the server runs"
            ) from error
        if version < OLDEST_SERVER:
            database.close()
            raise DatabaseError(f"PostgreSQL {version // 10_000} is too old: use 15 or newer")
        return database

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end and rolled back on any error."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A Core connection in one transaction, for bulk work."""
        with self.engine.begin() as connection:
            yield connection

    def revive(self) -> bool:
        """Start an embedded server again that died under us, its owner; return whether that was needed."""
        return self._server is not None and self._server.revive()

    def close(self) -> None:
        self.engine.dispose()
        if self._server is not None:
            self._server.release()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def raw(session: Session | Connection) -> psycopg.Connection[tuple[object, ...]]:
    """The psycopg connection below, in the same transaction: for COPY, which SQLAlchemy does not speak."""
    connection = session.connection() if isinstance(session, Session) else session
    return cast("psycopg.Connection[tuple[object, ...]]", connection.connection.dbapi_connection)


def _speak_utc(connection: psycopg.Connection[tuple[object, ...]], _record: object) -> None:
    # Times leave the database in UTC whatever the server's own zone is.
    autocommit = connection.autocommit
    connection.autocommit = True
    connection.execute("SET TIME ZONE 'UTC'")
    connection.autocommit = autocommit
