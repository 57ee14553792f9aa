"""What fetching remembers: of a URL its validators and the body they stand for, of a host when it may be asked again.

The body is kept with its validators, so that "304 Not Modified" gives the same rows again: a reading that was killed
after its fetch loses nothing to a server that has "already told".
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert as upsert

from service.database import Database
from service.database.tables import FetchedBody, FetchHost

LARGEST_KEPT: Final = 8 * 1024 * 1024
"""Bytes, packed; larger bodies are fetched anew each time."""
_KEPT_DAYS: Final = 14
_TURN: Final = 7_262_060
"""Any number of its own; the second key of the lock is the host."""
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that is kept, with the validators that it came with (RFC 9110, section 8.8)."""

    etag: str | None
    last_modified: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Host:
    """When a host may be asked again."""

    not_before: datetime | None = None
    """Not to be asked before this time: its pace, what it asked for, or our backoff."""
    failures: int = 0
    """In a row."""


class State(Protocol):
    """Where fetching remembers; in PostgreSQL for all processes, or in one."""

    def turn(self, host: str, patience: float) -> AbstractContextManager[None]:
        """One request to a host at a time. Raises :class:`TimeoutError` after ``patience`` seconds."""

    def host(self, host: str) -> Host: ...
    def note(self, host: str, state: Host) -> None: ...
    def kept(self, url: str) -> Kept | None: ...
    def keep(self, url: str, kept: Kept) -> None: ...
    def forget(self, url: str) -> None: ...


class Remembered:
    """State of this process alone, for a single look at a URL and for tests."""

    def __init__(self) -> None:
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._hosts: dict[str, Host] = {}
        self._bodies: dict[str, Kept] = {}

    @contextmanager
    def turn(self, host: str, patience: float) -> Iterator[None]:
        lock = self._turns[host]
        if not lock.acquire(timeout=patience):
            raise TimeoutError
        try:
            yield
        finally:
            lock.release()

    def host(self, host: str) -> Host:
        return self._hosts.get(host, Host())

    def note(self, host: str, state: Host) -> None:
        self._hosts[host] = state

    def kept(self, url: str) -> Kept | None:
        return self._bodies.get(url)

    def keep(self, url: str, kept: Kept) -> None:
        self._bodies[url] = kept

    def forget(self, url: str) -> None:
        self._bodies.pop(url, None)


class Stored:
    """State in the database, shared by all processes and kept over restarts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def turn(self, host: str, patience: float) -> Iterator[None]:
        """Claims an advisory lock of a transaction, which stands open meanwhile, so that it holds behind a pooler too
        (docs/scaling.md); a killed process gives it back with its connection."""
        key = {"turn": _TURN, "host": host}
        give_up = time.monotonic() + patience
        with self._database.connection() as connection:
            while not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:turn, hashtext(:host))"), key):
                if time.monotonic() > give_up:
                    raise TimeoutError
                time.sleep(_LOOK_SECONDS)
            yield

    def host(self, host: str) -> Host:
        with self._database.transaction() as session:
            row = session.get(FetchHost, host)
            return Host(row.not_before, row.failures) if row is not None else Host()

    def note(self, host: str, state: Host) -> None:
        values = {"not_before": state.not_before, "failures": state.failures}
        statement = upsert(FetchHost).values(host=host, **values)
        with self._database.connection() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["host"], set_=values))

    def kept(self, url: str) -> Kept | None:
        with self._database.transaction() as session:
            row = session.get(FetchedBody, url)
            return Kept(row.etag, row.last_modified, zlib.decompress(row.packed)) if row is not None else None

    def keep(self, url: str, kept: Kept) -> None:
        packed = zlib.compress(kept.body, 6)
        if len(packed) > LARGEST_KEPT:
            self.forget(url)
            return
        values = {
            "etag": kept.etag,
            "last_modified": kept.last_modified,
            "packed": packed,
            "fetched_at": datetime.now(UTC),
        }
        statement = upsert(FetchedBody).values(url=url, **values)
        with self._database.connection() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["url"], set_=values))
            # A URL with a day in it is asked for a few days only.
            before = datetime.now(UTC) - timedelta(days=_KEPT_DAYS)
            connection.execute(delete(FetchedBody).where(FetchedBody.fetched_at < before))

    def forget(self, url: str) -> None:
        with self._database.connection() as connection:
            connection.execute(delete(FetchedBody).where(FetchedBody.url == url))
