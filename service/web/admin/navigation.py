"""The dashboard's pages as its navigation lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.database.tables import OperatorRole


@dataclass(frozen=True, slots=True)
class Entry:
    path: str
    label: str
    role: OperatorRole = OperatorRole.VIEWER
    """Who sees it."""


ENTRIES: Final = (
    Entry("/admin", "Today"),
    Entry("/admin/trends", "Trends"),
    Entry("/admin/sources", "Sources"),
    Entry("/admin/trouble", "Trouble"),
    Entry("/admin/readers", "Readers"),
    Entry("/admin/topics", "Topics"),
    Entry("/admin/note", "Note"),
    Entry("/admin/look", "Preview"),
    Entry("/admin/log", "Log"),
    Entry("/admin/operators", "Operators", OperatorRole.OWNER),
    Entry("/admin/sessions", "You"),
)
