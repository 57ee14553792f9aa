"""A watched folder: files that are put there are read, then moved to ``done/`` or ``failed/`` with a note beside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from service.papers.record import Dayless, Problem, Row, SourceError
from service.papers.sources.file import FileSource

NAME: Final = "folder"
_STILL_SECONDS: Final = 2.0
"""A file that changed less long ago may still be growing."""
_UNFINISHED: Final = (".part", ".tmp", ".crdownload", "~")
_KEPT_PROBLEMS: Final = 200


@dataclass(slots=True)
class _Read:
    path: Path
    rows: int = 0
    rejected: int = 0
    problems: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None or (self.rows > 0 and self.rejected == self.rows)


class WatchedFolder(Dayless):
    """The files that wait in a folder, oldest name first. Hidden and unfinished files are left alone.

    Files are moved by :meth:`settle`, when their rows are stored: a reading that is killed leaves them, and the next
    takes them again, which makes nothing new.
    """

    name = NAME

    def __init__(self, path: Path) -> None:
        self.origin = str(path)
        self._path = path
        self._read: list[_Read] = []

    def fetch(self, since: date) -> Iterator[Row]:  # noqa: ARG002 (all of a file is wanted)
        """A file that cannot be read costs only itself. Raises :class:`SourceError` where the folder cannot be."""
        self._read = []
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            waiting = sorted(path for path in self._path.iterdir() if _is_ready(path))
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror or error}") from None
        for path in waiting:
            reading = _Read(path)
            self._read.append(reading)
            yield from _rows(reading)

    def settle(self) -> None:
        """Move what was read, a note beside it. Two processes that read the same file move it once."""
        for reading in self._read:
            target = self._path / ("failed" if reading.failed else "done")
            target.mkdir(exist_ok=True)
            moved = _free(target / reading.path.name)
            try:
                reading.path.rename(moved)
            except FileNotFoundError:
                continue
            moved.with_name(f"{moved.name}.txt").write_text(_note(reading), encoding="utf-8")
        self._read = []


def _rows(reading: _Read) -> Iterator[Row]:
    try:
        for row in FileSource(reading.path).fetch(date.min):
            reading.rows += 1
            if isinstance(row, Problem):
                reading.rejected += 1
                if len(reading.problems) < _KEPT_PROBLEMS:
                    reading.problems.append(f"{row.position}: {row.problem}")
                yield Problem(f"{reading.path.name} {row.position}", row.problem)
            else:
                yield row
    except SourceError as error:
        reading.error = str(error)
        yield Problem(reading.path.name, str(error))


def _is_ready(path: Path) -> bool:
    if path.name.startswith(".") or path.name.endswith(_UNFINISHED) or path.is_symlink() or not path.is_file():
        return False
    return time.time() - path.stat().st_mtime >= _STILL_SECONDS


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _note(reading: _Read) -> str:
    lines = [f"Read {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {reading.rows} rows, {reading.rejected} rejected."]
    if reading.error is not None:
        lines.append(f"Not read to its end: {reading.error}")
    return "\n".join([*lines, *reading.problems, ""])
