"""Reading one field of a row that may hold anything: the right kind of value, clean, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from service.papers import taxonomy
from service.papers.text import plain

LONGEST_TITLE: Final = 600
LONGEST_ABSTRACT: Final = 20_000
LONGEST_NAME: Final = 200
MOST_AUTHORS: Final = 5_000
MOST_KEYWORDS: Final = 50
LARGEST_COUNT: Final = 2_000_000_000


class RowError(Exception):
    """A row that cannot be taken; the message says why."""


def title(value: object) -> str:
    """A row without a title is no paper. Raises :class:`RowError`."""
    readable = text(value, LONGEST_TITLE)
    if readable is None:
        raise RowError("has no title")
    return readable


def text(value: object, longest: int = LONGEST_ABSTRACT) -> str | None:
    """Readable text, cut at ``longest`` characters; None for anything else or nothing."""
    if not isinstance(value, str):
        return None
    # Cleaning costs time; a hostile row of megabytes is cut before it.
    readable = plain(value[: longest * 2])
    return (readable if len(readable) <= longest else readable[: longest - 1].rstrip() + "…") or None


def names(values: object) -> tuple[str, ...]:
    """Names in order, without repetitions."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        return ()
    found = (text(value, LONGEST_NAME) for value, _ in zip(values, range(MOST_AUTHORS), strict=False))
    return tuple(dict.fromkeys(name for name in found if name))


def categories(values: object) -> tuple[str, ...]:
    """Members of the arXiv taxonomy, in order; lists carry MSC and ACM classes too, and those are not taken."""
    if isinstance(values, str):
        values = values.split()
    if not isinstance(values, Iterable):
        return ()
    found = (taxonomy.canonical(value.strip()) for value in values if isinstance(value, str))
    return tuple(dict.fromkeys(category for category in found if category))


def count(value: object) -> int | None:
    """A number that can be a count; else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT else None


def url(value: object) -> str | None:
    """A link that may be shown: http or https, with a host, of a sensible length."""
    if not isinstance(value, str) or len(value) > 2_000 or not value.isprintable() or " " in value.strip():
        return None
    try:
        parts = urlsplit(value.strip())
        return value.strip() if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


def day(value: object) -> date | None:
    """The UTC day of an ISO date or time."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date() if moment.year > 1 else None


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object; anything else counts as an empty one."""
    return value if isinstance(value, dict) else {}
