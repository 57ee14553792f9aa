"""Reading a listing that has one list for each day, day by day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from service.papers.fetching import FetchError
from service.papers.record import DayRead, PaperRecord, Problem, Row, SourceError


@dataclass(slots=True)
class Progress:
    """How far a day has been read."""

    rows: int = 0
    """Of this day. Those that its list gives for another are not among them."""
    expected: int | None = None
    """That the listing says there are; None where it does not."""


def newest_first(since: date, read: Callable[[date, Progress], Iterator[PaperRecord | Problem]]) -> Iterator[Row]:
    """The rows of the days since ``since``, and of each day how much was read. ``read`` reads one, telling how far.

    A day whose reading raises FetchError costs that day; when the first two fail, the site is taken to be away. Raises
    :class:`SourceError` at the end where any failed.
    """
    failures = days = 0
    last: FetchError | None = None
    day = datetime.now(UTC).date()
    while day >= since:
        days += 1
        progress = Progress()
        try:
            yield from read(day, progress)
        except FetchError as error:
            failures += 1
            yield DayRead(day, progress.rows, progress.expected, complete=False, note=str(error))
            if failures == days and failures >= 2:
                raise SourceError(str(error)) from error
            last = error
        else:
            yield DayRead(day, progress.rows, progress.expected)
        day -= timedelta(days=1)
    if last is not None:
        raise SourceError(f"{failures} of {days} days could not be read to their end, the last: {last}") from last
