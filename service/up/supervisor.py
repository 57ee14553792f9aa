"""Starts child processes, restarts the ones that die, stops them all in order.

A supervisor of our own because the two well-kept ones do not fit: honcho ends everything when one process ends, and
supervisord wants a configuration file and a daemon. What a crash leaves: if this process itself is killed, its
children go on as orphans; the next start finds them in the record it keeps beside the data and ends them first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import psutil

_STEADY_SECONDS = 30.0
"""A child that lived this long was well: its next restart is immediate again."""
_LONGEST_PAUSE = 30.0
_LOG_LIMIT = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """A child to be kept running."""

    name: str
    argv: Sequence[str]
    grace_seconds: float = 15.0
    """Between SIGTERM and SIGKILL."""


class Recorded(TypedDict):
    """A line of the record: enough to know a process again."""

    name: str
    pid: int
    born: float


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_after: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Keeps ``programs`` running until :meth:`stop`; log lines of each go to ``<logs>/<name>.log``.

    ``record`` is a file that names the running children, so that a successor can end them. ``tell`` gets a line for
    each unexpected end.
    """

    programs: Sequence[Program]
    logs: Path
    record: Path
    environment: dict[str, str]
    tell: Callable[[str], None]
    _children: list[_Child] = field(default_factory=list)

    def start(self) -> None:
        """Start every program in the given order."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self._children = [_Child(program) for program in self.programs]
        for child in self._children:
            self._start(child)
        self._record_children()

    def watch(self) -> None:
        """Restart what has died, waiting longer after each failure. Call about twice a second."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                status = child.process.returncode
                child.process = None
                child.failures = 0 if now - child.started_at > _STEADY_SECONDS else child.failures + 1
                pause = min(2.0 ** (child.failures - 1), _LONGEST_PAUSE) if child.failures else 0.0
                child.start_after = now + pause
                log = self.logs / f"{child.program.name}.log"
                self.tell(
                    f"{child.program.name} ended with status {status}, starting it again in {pause:.0f} s ({log})"
                )
            if child.process is None and now >= child.start_after:
                self._start(child)
                self._record_children()

    def recorded(self) -> list[Recorded]:
        """The children that the record names, living or not."""
        try:
            rows: list[Recorded] = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):
            return []
        return rows

    def write_record(self, rows: Sequence[Recorded]) -> None:
        """Replace the record, whole."""
        draft = self.record.with_suffix(".draft")
        draft.write_text(json.dumps(rows))
        draft.replace(self.record)

    def end_orphans(self) -> int:
        """End the children of a killed predecessor; return how many were still there."""
        orphans = []
        for row in self.recorded():
            try:
                process = psutil.Process(row["pid"])
                # Numbers are used again; the time of birth tells a stranger.
                if abs(process.create_time() - row["born"]) < 1.0:
                    orphans.append(process)
            except psutil.NoSuchProcess:
                continue
        for process in orphans:
            _signal_group(process.pid, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(orphans, timeout=10)
        for process in stubborn:
            _signal_group(process.pid, signal.SIGKILL)
        self.record.unlink(missing_ok=True)
        return len(orphans)

    def stop(self) -> None:
        """End every child, last started first; SIGKILL to those that outlast their grace."""
        running = [(child.program, child.process) for child in reversed(self._children) if child.process is not None]
        for _, process in running:
            _signal_group(process.pid, signal.SIGTERM)
        for program, process in running:
            try:
                process.wait(program.grace_seconds)
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
        self._children = []
        self.record.unlink(missing_ok=True)

    def _start(self, child: _Child) -> None:
        path = self.logs / f"{child.program.name}.log"
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches only the supervisor, which then stops all in order.
            child.process = subprocess.Popen(  # noqa: S603 (our own commands, no shell)
                list(child.program.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        child.started_at = time.monotonic()

    def _record_children(self) -> None:
        rows = []
        for child in self._children:
            if child.process is not None:
                try:
                    born = psutil.Process(child.process.pid).create_time()
                except psutil.NoSuchProcess:
                    continue
                rows.append(Recorded(name=child.program.name, pid=child.process.pid, born=born))
        self.write_record(rows)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        # To the whole group only for the kill: Celery's parent must be the one to stop its own children in order.
        if number is signal.SIGKILL:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass
