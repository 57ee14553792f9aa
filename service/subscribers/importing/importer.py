"""One import, from the file to the tables, going on where a killed one stopped.

The steps for a chunk of rows, and what a crash after each leaves:

1. Understand its rows. Bad ones go to the file of bad rows, flushed. A crash: that file is longer than was recorded,
   and is cut back when the import goes on.
2. Store the queries that nobody followed before. A crash: they are there, and nobody follows them yet.
3. In one transaction: enter the good ones, and record how many rows are done and how long the file of bad rows is. A
   crash before the commit: the chunk never happened. After it: the next run begins behind it.

Step 3 is PostgreSQL's work, most of it checks of foreign keys, so two chunks are in its hands at once, a transaction
each. They commit in the order of the file: what is recorded as done is always a beginning of it.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Final

from psycopg.errors import LockNotAvailable
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import ReaderImport
from service.settings import Settings
from service.subscribers import interests
from service.subscribers.accounts import Preferences, check
from service.subscribers.importing import columns, records
from service.subscribers.importing.columns import Blocked, Entry, RowProblem, Shape, TunedWish, Understanding
from service.subscribers.importing.records import Row
from service.subscribers.importing.store import ChunkReport, Consent, Prepared, Store

_CHUNK: Final = 10_000
_AT_ONCE: Final = 2
"""Chunks that PostgreSQL is entering."""
_TURN: Final = 0x1A9E_0001
"""Key of the advisory lock of whoever imports."""
_PATIENCE: Final = text("SET LOCAL lock_timeout = '60s'")
_LANGUAGE: Final = "en"
_SHORTEST_CONSENT: Final = 10


class ImportRefused(Exception):
    """An import that cannot begin. One line: the thing and the remedy."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to read a list, and what its readers get where it does not say."""

    consent: str
    """How these readers agreed to be mailed, in the operator's words: recorded for each of them."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Header name → :class:`columns.Column`."""
    shape: Shape | None = None
    """None: told from the header."""
    topics: tuple[str, ...] = ()
    """For rows that name neither topics nor queries."""
    preferences: Preferences = field(default_factory=Preferences)
    dry_run: bool = False
    """Do everything, and roll it back."""
    bad_rows: Path | None = None
    """Where bad rows are written. It holds addresses: only its owner can read it."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows, in this run and in the killed ones before it."""

    rows: int
    entered: int
    known: int
    """Readers who were there already, or the same address further up: left as they are."""
    suppressed: int
    """Addresses that must not be mailed: our own suppressions, and those that the list says are blocked."""
    bad: int
    resumed_at: int
    """Rows that an earlier run had done; 0 for an import from the beginning."""


Note = Callable[[Session, ImportReport | None], None]
"""Hears that an import begins (None), and what came of it."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows understood."""

    rows: int
    entries: Prepared
    keys: frozenset[str]
    """Of all its addresses."""
    blocked: Sequence[Blocked]
    repeated: int
    bad: int
    bad_bytes: int
    """Length of the file of bad rows with those of this chunk."""


def run(
    database: Database,
    settings: Settings,
    path: Path,
    options: ImportOptions,
    *,
    now: datetime | None = None,
    on_progress: Callable[[int], None] | None = None,
    note: Note | None = None,
) -> ImportReport:
    """Import ``path`` (CSV, UTF-8, with a header). ``on_progress`` hears how many rows are done. ``note`` is called
    in the transaction that begins the import, or takes it up again, and in the one that ends it, with the report; of a
    dry run it hears nothing.

    Raises :class:`ImportRefused`, :class:`columns.ColumnsError`, InterestError, ScheduleError, AccountError before
    anything is changed.
    """
    if len(options.consent.strip()) < _SHORTEST_CONSENT:
        raise ImportRefused(
            "--consent needs a sentence that says how these readers agreed,"
            " for example 'Signed up at the library desk, forms of 2026'"
        )
    check(options.preferences)
    moment = now or datetime.now(UTC)
    with _opened(path) as file:
        header = file.readline()
        if not header.strip():
            raise ImportRefused(f"{path.name} is empty: it needs a header and rows")
        parted_by = records.delimiter(header)
        layout = columns.layout(next(csv.reader([header], delimiter=parted_by)), options.mapping, options.shape)
        with database.transaction() as session:
            topics = interests.catalogue(session)
            wishes = interests.from_topics(session, options.topics or [interests.DEFAULT_TOPIC])
        default = tuple(TunedWish(each.label, each.query_text, each.topic_slug) for each in wishes)
        store = Store(settings, Consent(options.consent.strip(), f"import of {path.name}"), default, moment)
        understanding = Understanding(layout, topics, options.preferences, _LANGUAGE)
        progress = _Progress(database, store, path.name, _fingerprint(path, options), moment, options.dry_run, note)
        with progress.alone(), _BadRows.opened(options.bad_rows, progress) as bad_rows:
            rows = islice(records.rows(file, parted_by), progress.done.rows, None)
            _work_through(_understood(rows, understanding, store, bad_rows), progress, on_progress)
            return progress.finished()


def _work_through(chunks: Iterator[_Chunk], progress: _Progress, on_progress: Callable[[int], None] | None) -> None:
    """Understand one chunk while the database takes those before it.

    A chunk waits until no address of it is in another's hands: the later one would hold what the earlier one needs, and
    wait for its turn to commit.
    """
    with ThreadPoolExecutor(progress.at_once, thread_name_prefix="import") as hands:
        entering: deque[tuple[Future[int], _Chunk]] = deque()

        def see_in() -> None:
            rows = entering.popleft()[0].result()
            if on_progress is not None:
                on_progress(rows)

        for chunk in chunks:
            while len(entering) >= progress.at_once or any(
                not chunk.keys.isdisjoint(other.keys) for _, other in entering
            ):
                see_in()
            progress.learn(chunk)
            before = entering[-1][0] if entering else None
            entering.append((hands.submit(progress.enter, chunk, before), chunk))
        while entering:
            see_in()


# ---- step 1 ----------------------------------------------------------------------------------------------------------


def _understood(
    rows: Iterator[Row], understanding: Understanding, store: Store, bad_rows: _BadRows
) -> Iterator[_Chunk]:
    while batch := list(islice(rows, _CHUNK)):
        entries: dict[str, Entry] = {}
        blocked: list[Blocked] = []
        repeated = bad = 0
        for row in batch:
            try:
                if row.problem:
                    raise RowProblem(row.problem)
                taken = understanding.entry(row.number, row.cells)
            except RowProblem as problem:
                bad_rows.write(row, str(problem))
                bad += 1
                continue
            if isinstance(taken, Blocked):
                blocked.append(taken)
            elif taken.address.key in entries:
                repeated += 1
            else:
                entries[taken.address.key] = taken
        prepared = store.prepared(list(entries.values()))
        keys = frozenset(entries) | {each.address.key for each in blocked}
        yield _Chunk(len(batch), prepared, keys, blocked, repeated, bad, bad_rows.length())


class _BadRows:
    """The file of bad rows: row number, problem, and the cells as they were, to be mended and imported again."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._writer = csv.writer(file) if file is not None else None

    @classmethod
    @contextmanager
    def opened(cls, path: Path | None, progress: _Progress) -> Iterator[_BadRows]:
        """Cut back to the length that was recorded: what a killed run wrote beyond its last commit is written again."""
        if path is None:
            yield cls(None)
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise ImportRefused(f"{path} cannot be written: {error.strerror or error}") from None
        with os.fdopen(descriptor, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            file.truncate(progress.done.bad_bytes)
            file.seek(0, os.SEEK_END)
            bad_rows = cls(file)
            if progress.done.bad_bytes == 0 and bad_rows._writer is not None:
                bad_rows._writer.writerow(("row", "problem", "cells"))
            yield bad_rows

    def write(self, row: Row, problem: str) -> None:
        if self._writer is not None:
            self._writer.writerow((row.number, problem, *(row.cells or (row.written,))))

    def length(self) -> int:
        """Bytes, all of them with the operating system."""
        if self._file is None:
            return 0
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size


# ---- steps 2 and 3 ---------------------------------------------------------------------------------------------------


class _Progress:
    """What is done of one import, in its row and here."""

    def __init__(
        self,
        database: Database,
        store: Store,
        name: str,
        fingerprint: bytes,
        now: datetime,
        dry_run: bool,
        note: Note | None,
    ) -> None:
        self._database = database
        self._store = store
        self._name = name
        self._fingerprint = fingerprint
        self._now = now
        self._dry_run = dry_run
        self._note = note or (lambda *_: None)
        self.at_once = 1 if dry_run else _AT_ONCE
        """Chunks in hand. What a dry run stores for one chunk must be gone before the next."""
        self.done = _Done()
        self._resumed_at = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One import at a time, from where the last one of this file stopped. Raises :class:`ImportRefused`.

        Two imports of lists that overlap could wait for each other without PostgreSQL seeing it. The lock is that of a
        transaction, which stands open and does nothing meanwhile, so that it holds behind a pooler too.
        """
        with self._database.connection() as connection:
            if not connection.scalar(select(func.pg_try_advisory_xact_lock(_TURN))):
                raise ImportRefused("a list is being imported at this moment: let that import end, or stop it")
            self._take_up()
            yield

    def _take_up(self) -> None:
        if self._dry_run:
            return
        with self._database.transaction() as session:
            self._note(session, None)
            kept = session.get(ReaderImport, self._fingerprint)
            if kept is not None and kept.finished_at is None:
                self.done = _Done(kept.rows, kept.entered, kept.known, kept.suppressed, kept.bad, kept.bad_bytes)
                self._resumed_at = kept.rows
                return
            if kept is not None:
                # Done before: done again from the beginning, which changes nothing for who is there.
                session.delete(kept)
                session.flush()
            session.add(
                ReaderImport(fingerprint=self._fingerprint, name=self._name, started_at=self._now, **asdict(_Done()))
            )

    def learn(self, chunk: _Chunk) -> None:
        """Step 2."""
        if not self._dry_run:
            with self._database.transaction() as session:
                self._store.learn(session, chunk.entries)

    def enter(self, chunk: _Chunk, before: Future[int] | None) -> int:
        """Step 3, committed after the chunk ``before``; return how many rows are done.

        Raises :class:`ImportRefused` where somebody else keeps an address of the chunk for a minute.
        """
        try:
            with Session(self._database.engine) as session:
                session.execute(_PATIENCE)
                if self._dry_run:
                    self._store.learn(session, chunk.entries)
                entered = self._store.enter(session, chunk.entries)
                self._store.block(session, chunk.blocked)
                if before is not None:
                    before.result()
                done = self.done.with_chunk(chunk, entered)
                if self._dry_run:
                    session.rollback()
                    self._store.forget()
                else:
                    row = update(ReaderImport).where(ReaderImport.fingerprint == self._fingerprint)
                    session.execute(row.values(**asdict(done)))
                    session.commit()
        except OperationalError as error:
            if isinstance(error.orig, LockNotAvailable):
                raise ImportRefused(
                    "another process keeps a reader of this list: run the same command again"
                ) from error
            raise
        self.done = done
        return done.rows

    def finished(self) -> ImportReport:
        done = self.done
        report = ImportReport(done.rows, done.entered, done.known, done.suppressed, done.bad, self._resumed_at)
        if not self._dry_run:
            with self._database.transaction() as session:
                row = update(ReaderImport).where(ReaderImport.fingerprint == self._fingerprint)
                session.execute(row.values(finished_at=func.now()))
                self._note(session, report)
        return report


@dataclass(frozen=True, slots=True)
class _Done:
    """Rows done, and what became of them."""

    rows: int = 0
    entered: int = 0
    known: int = 0
    suppressed: int = 0
    bad: int = 0
    bad_bytes: int = 0

    def with_chunk(self, chunk: _Chunk, entered: ChunkReport) -> _Done:
        return _Done(
            rows=self.rows + chunk.rows,
            entered=self.entered + entered.entered,
            known=self.known + entered.known + chunk.repeated,
            suppressed=self.suppressed + entered.suppressed + len(chunk.blocked),
            bad=self.bad + chunk.bad,
            bad_bytes=chunk.bad_bytes,
        )


# ---- the file --------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Bytes that are not UTF-8 come through as surrogates (PEP 383), so that only their row is bad."""
    try:
        file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror or error}") from None
    with file:
        yield file


def _fingerprint(path: Path, options: ImportOptions) -> bytes:
    """Equal for the same bytes read in the same way: only then may an import go on where another stopped."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    reading = (sorted(options.mapping.items()), options.shape, options.topics, options.preferences, options.consent)
    return hashlib.sha256(content + repr(reading).encode()).digest()
