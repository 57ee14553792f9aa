"""Several sender processes for a large round on one machine: one process composes and signs on one core only.

The workers of a service have processes of their own, so this is for a round that a person starts. Each of the crew
claims its own rows, in its own name and journal, as any sender anywhere would; nothing is handed from one to another.
One that dies leaves what any dead sender leaves, and those who are still there make up for it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

import structlog

from service import tracing
from service.database import Database
from service.delivery.sender import SendReport, send_due
from service.outbox import rows
from service.settings import Settings

log = structlog.get_logger(__name__)

WORTH_A_PROCESS: Final = 2_500
"""Deliveries for which another process is started: fewer are sent before it would be ready."""
MOST: Final = 16


def send_due_together(
    database: Database,
    settings: Settings,
    *,
    processes: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    insist: bool = False,
) -> SendReport:
    """As :func:`sender.send_due`, by as many ``processes`` as there are cores (or fewer where little is due).

    This process is one of them. The report is that of all; ``on_progress`` hears of all.
    """
    wanted = min(processes or os.cpu_count() or 1, MOST)
    due = rows.due(database, limit=wanted * WORTH_A_PROCESS)
    others = [_Other(database, settings, insist) for _ in range(min(wanted, due // WORTH_A_PROCESS) - 1)]

    def tell(mine: int) -> None:
        if on_progress is not None:
            on_progress(mine + sum(other.settled() for other in others))

    with _seldom_collecting():
        report = send_due(database, settings, on_progress=tell, insist=insist)
    for other in others:
        theirs = other.wait()
        if theirs is None:
            # Its journal tells what it had done; the rest is sent now.
            log.warning("crew.one_died", exit_code=other.exit_code)
            theirs = send_due(database, settings, insist=insist)
        report = _sum(report, theirs)
    return report


class _Other:
    """One of the crew, in a process of its own."""

    def __init__(self, database: Database, settings: Settings, insist: bool) -> None:
        # Spawned, not forked: connections and threads of this process are none of its business.
        context = multiprocessing.get_context("spawn")
        self._ear, mouth = context.Pipe(duplex=False)
        self._settled = 0
        self._report: SendReport | None = None
        url = database.engine.url.render_as_string(hide_password=False)
        self._process: SpawnProcess = context.Process(
            target=_send, args=(url, settings, insist, tracing.carried(), mouth), daemon=True
        )
        self._process.start()
        mouth.close()

    def settled(self) -> int:
        """How many it has settled so far."""
        while self._report is None and self._ear.poll():
            if not self._hear():
                break
        return self._settled

    def wait(self) -> SendReport | None:
        """Its report; None where it died."""
        while self._report is None and self._hear():
            pass
        self._process.join()
        return self._report

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def _hear(self) -> bool:
        try:
            said = self._ear.recv()
        except EOFError:
            return False
        if isinstance(said, SendReport):
            self._report = said
        else:
            self._settled = said
        return True


def _send(url: str, settings: Settings, insist: bool, trace: dict[str, str], mouth: Connection) -> None:
    if trace:
        tracing.start(tracing.Process.SENDER)
    with (
        tracing.span("send beside", within=trace),
        Database(url, prepared=settings.prepared_statements) as database,
        _seldom_collecting(),
    ):
        mouth.send(send_due(database, settings, on_progress=mouth.send, insist=insist))


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Look for garbage in cycles less often: composing makes thousands of small objects a second and no cycles, and
    each look costs more the more cards are kept. A twentieth of a round's time."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _sum(one: SendReport, other: SendReport) -> SendReport:
    counted = {
        field.name: getattr(one, field.name) + getattr(other, field.name)
        for field in fields(SendReport)
        if field.type == "int"
    }
    return SendReport(**counted, paused=one.paused or other.paused, reason=one.reason or other.reason)
