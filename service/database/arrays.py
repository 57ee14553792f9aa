"""Values for COPY in PostgreSQL's text form; quicker than adapting them one by one."""

from __future__ import annotations

from collections.abc import Sequence


def integers(numbers: Sequence[int]) -> str:
    """``{1,2,3}``. There is nothing in numbers to escape."""
    return "{" + ",".join(map(str, numbers)) + "}"


def escaped(value: str) -> str:
    """Text as it stands in a line of COPY (PostgreSQL manual, COPY, "Text Format")."""
    if value.isalnum():
        return value
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
