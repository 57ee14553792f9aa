"""The journal of one sender: what it gave to a relay and what the relay took, before the tables know.

The tables learn of a message some milliseconds after the relay has taken it. A sender killed in between would leave the
tables behind the truth, and its readers would get their mail twice. So each run keeps a file of its own and writes one
short line

- ``begun`` before a message's content leaves,
- ``accepted`` when the relay has taken it, before anything further is read from the relay, and
- ``void`` when the relay refused it, or it turns out that not all of it had left.

Whoever finds the file of a run that is dead (see :func:`abandoned`) knows: accepted is sent; begun without an answer is
uncertain (RFC 1047); everything else that run had leased was never begun. The file goes when all it tells of stands in
the tables.

*A killed process* loses nothing: what was written is in the kernel's hands. Nothing is forced to the disk (fsync takes
longer than sending a message), so *a machine that loses power* may lose the last lines, and repeats, under the same
Message-ID, what it had sent in the last moments and not settled; it loses no reader.

*A full disk* is noticed before a message, never after: room for a message's answer is taken together with the room for
its beginning.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from service.delivery.results import CannotRecord

_SUFFIX: Final = ".journal"
_DRAFT: Final = ".draft"
_DRAFT_LIVES_SECONDS: Final = 3600.0
_TICK: Final = timedelta(milliseconds=20)
"""A file's times are those of the kernel's last tick, 10 ms ago at most; the tables' are exact."""
_ZEROS: Final = bytes(16 * 1024)
"""Disk is taken in pieces of this size, before it is needed."""
_REPLY_KEPT: Final = 200
"""Characters of the relay's answer that are kept."""
_RESERVED: Final = 2 * (_REPLY_KEPT + 40)
"""Bytes that the lines of one message take at most."""
_REWRITE_AT: Final = 1024 * 1024
"""Bytes after which what the tables know already is left out."""
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_LINE: Final = re.compile(rb"(begun|accepted|void) ([0-9]{1,19})(?: ([\x20-\x7e]*))?")


class Journal:
    """The open journal of a living run. Use from one thread."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Make the file and lock it. Raises :class:`CannotRecord`."""
        self._path = folder / f"{_file_name(owner)}{_SUFFIX}"
        self.owner = owner
        """The name of the run, in which its leases are."""
        self._open: dict[int, str | None] = {}
        """Begun and not yet settled, with the answer of those accepted."""
        with self._or_cannot_record():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._fresh()

    def begun(self, delivery_id: int) -> None:
        """The content of this message leaves next. Raises :class:`CannotRecord`: then it must not."""
        with self._or_cannot_record():
            if self._file.end > _REWRITE_AT + len(self._open) * _RESERVED:
                before, self._file = self._file, self._fresh()
                before.close()
            # Of every message under way the answer is still to be written.
            self._file.take_room((len(self._open) + 1) * _RESERVED)
            self._file.write(f"begun {delivery_id}")
        self._open[delivery_id] = None

    def accepted(self, delivery_id: int, reply: str) -> None:
        """The relay has taken it."""
        kept = _UNPRINTABLE.sub("?", reply[:_REPLY_KEPT])
        self._open[delivery_id] = kept
        self._file.write(f"accepted {delivery_id} {kept}")

    def void(self, delivery_id: int) -> None:
        """The relay does not have it after all."""
        self._open.pop(delivery_id, None)
        self._file.write(f"void {delivery_id}")

    def settled(self, delivery_ids: Iterable[int]) -> None:
        """The tables know what became of these."""
        for delivery_id in delivery_ids:
            self._open.pop(delivery_id, None)

    def close(self, *, finished: bool = True) -> None:
        """End the run. The file stays for :func:`abandoned` unless all is settled and ``finished``: no lease left."""
        if finished and not self._open:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _fresh(self) -> _File:
        """A file that tells of what is not settled; whole, and locked, before it stands under its name."""
        draft = self._path.with_suffix(_DRAFT)
        draft.unlink(missing_ok=True)
        file = _File(draft)
        try:
            file.take_room((len(self._open) + 1) * _RESERVED)
            file.write(self.owner)
            for delivery_id, reply in self._open.items():
                file.write(f"begun {delivery_id}" if reply is None else f"accepted {delivery_id} {reply}")
            draft.replace(self._path)
        except BaseException:
            file.close()
            draft.unlink(missing_ok=True)
            raise
        return file

    @contextmanager
    def _or_cannot_record(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotRecord(
                f"the journal in {self._path.parent} cannot be written ({error.strerror}): make room there; nothing is"
                " sent that could not be recorded"
            ) from error


class _File:
    """A locked file that is written from its beginning, in room taken beforehand. All raise OSError."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._room = 0
        self.end = 0
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def take_room(self, size: int) -> None:
        while self._room - self.end < size:
            # Zeros are no lines: readers stop at them. Written, not only promised by fallocate, which not every system
            # has; and one that copies on write could break the promise.
            self._room += os.pwrite(self._descriptor, _ZEROS, self._room)

    def write(self, line: str) -> None:
        data = f"{line}\n".encode("ascii")
        while data:
            written = os.pwrite(self._descriptor, data, self.end)
            self.end += written
            data = data[written:]

    def close(self) -> None:
        # A process being started at this moment holds the descriptor too, and the lock with it until then.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a dead run's journal tells."""

    owner: str
    """The name its leases are in."""
    accepted: dict[int, str]
    """Taken by the relay, with its answers."""
    begun: frozenset[int]
    """Without an answer: the relay may have them."""
    written_at: datetime
    """When the last line was written."""


@contextmanager
def abandoned(path: Path) -> Iterator[Legacy | None]:
    """The legacy in ``path``, when its run is dead, else None; the file goes when the block ends without an error.

    While the block lasts nobody else has it. A crash before the end of the block leaves the file for the next to come.
    """
    descriptor = _locked(path)
    if descriptor is None:
        yield None
        return
    try:
        yield _read(descriptor)
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def journals(folder: Path) -> list[Path]:
    """The journals of this machine's runs, living or dead. Files that a kill left half made are cleared away."""
    for draft in folder.glob(f"*{_DRAFT}"):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _DRAFT_LIVES_SECONDS:
                draft.unlink()
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _read(descriptor: int) -> Legacy | None:
    """None where a run died before its first line."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        written_at = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC) + _TICK
        # The last line may be torn, or be followed by room that was never used.
        lines = file.read().split(b"\0", 1)[0].split(b"\n")[:-1]
    if not lines:
        return None
    accepted: dict[int, str] = {}
    begun: set[int] = set()
    for line in lines[1:]:
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        delivery_id = int(match[2])
        begun.discard(delivery_id)
        if match[1] == b"begun":
            begun.add(delivery_id)
        elif match[1] == b"accepted":
            accepted[delivery_id] = (match[3] or b"").decode("ascii")
    return Legacy(lines[0].decode(errors="replace"), accepted, frozenset(begun - accepted.keys()), written_at)


def _locked(path: Path) -> int | None:
    """The file, opened and locked; None while its run lives, or when somebody has dealt with it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, another may have finished with it, or its run have begun a new file.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _file_name(owner: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", owner)
