"""Statements as spans: their text with its placeholders, never what was bound to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from service import tracing

_LONGEST: Final = 2_000
"""Characters of a statement that are told: one with a placeholder for each of a thousand rows says no more."""
_TABLE: Final = re.compile(r'\b(?:FROM|INTO|UPDATE|COPY|JOIN)\s+(?!ONLY\b|STDIN\b)"?([a-z_][a-z0-9_.]*)', re.IGNORECASE)
# A lock is not a change: FOR UPDATE, FOR NO KEY UPDATE.
_WRITES: Final = re.compile(r"(?<!FOR )(?<!KEY )\b(INSERT|UPDATE|DELETE)\s", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s+")
_BEGAN: Final = "paperround.began"


def watch(engine: Engine) -> None:
    """Make a span of each of the engine's statements that belongs to a recorded span."""
    event.listen(engine, "before_cursor_execute", _begins)
    event.listen(engine, "after_cursor_execute", _ends)
    event.listen(engine, "handle_error", _fails)


@contextmanager
def traced(statement: str) -> Iterator[None]:
    """The same for a statement that goes past SQLAlchemy."""
    if not tracing.recording():
        yield
        return
    name, told = _described(statement)
    with tracing.span(name, told, kind=tracing.Kind.CLIENT):
        yield


def _begins(connection: Connection, *_: Any) -> None:
    if tracing.recording():
        connection.info[_BEGAN] = tracing.clock()


def _ends(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    _tell(connection, statement, None)


def _fails(error: ExceptionContext) -> None:
    if error.connection is not None and error.statement is not None:
        _tell(error.connection, error.statement, type(error.original_exception).__qualname__)


def _tell(connection: Connection, statement: str, failed: str | None) -> None:
    if connection.invalidated or (began := connection.info.pop(_BEGAN, 0)) == 0:
        return
    name, told = _described(statement)
    tracing.past(name, began, told, kind=tracing.Kind.CLIENT, failed=failed)


def _described(statement: str) -> tuple[str, dict[str, tracing.Value]]:
    """The span's name, operation and table, and its attributes (semantic conventions for PostgreSQL)."""
    words = _SPACE.sub(" ", statement[: _LONGEST + 500]).strip()
    operation = words.partition(" ")[0].upper()
    start = 0
    if operation == "WITH":
        # Told by what it does first, if it changes anything.
        writes = _WRITES.search(words)
        operation, start = (writes[1].upper(), writes.start()) if writes else ("SELECT", 0)
    table = _TABLE.search(words, start)
    name = f"{operation} {table[1]}" if table else operation
    return name, {
        "db.system.name": "postgresql",
        "db.operation.name": operation,
        "db.query.summary": name,
        "db.query.text": words[:_LONGEST],
    }
