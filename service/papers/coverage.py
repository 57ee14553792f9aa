"""Coverage: which days of which source have been read, how far, and why not further.

One row a (source, day). What a reading says of a day is laid over what stood there by :func:`after`, a pure function:
a day only ever gets better known, so a poor reading never hides a good one. From these rows follow where the next
reading begins (:func:`since`), what a reader is told of an empty day (:func:`explained`), and when an operator is
alarmed (:func:`overdue`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from service.database.tables import AskedAgain, Coverage, CoverageState
from service.papers.record import DayRead
from service.translation import gettext as _
from service.translation import ngettext, number

LONGEST_LOOK_BACK: Final = timedelta(days=30)
"""How far back a reading goes after a house that stood still."""
_GRACE: Final = timedelta(days=2)
"""A day not complete this long after it began is overdue."""
_REMEMBERED: Final = timedelta(days=14)
"""How long a day that was given up still alarms."""
_SETTLED: Final = frozenset({CoverageState.COMPLETE, CoverageState.EMPTY})

PUBLICATIONS: Final[Mapping[str, str]] = {
    "arxiv": "arXiv",
    "biorxiv": "bioRxiv",
    "huggingface": "Hugging Face Daily Papers",
    "medrxiv": "medRxiv",
}
"""What people call the sources that have a name of their own."""


@dataclass(frozen=True, slots=True)
class SourceDay:
    """What is known of one day of one source."""

    source: str
    day: date
    state: CoverageState
    origin: str = ""
    expected: int | None = None
    taken: int = 0
    rejected: int = 0
    attempts: int = 0
    error: str | None = None
    read_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def rows(self) -> int:
        return self.taken + self.rejected

    @property
    def read_to_end(self) -> bool:
        """Whether the source has told all it had when it was last asked to the end."""
        return self.state in _SETTLED

    def read_to_end_on(self, today: date) -> bool:
        return self.read_to_end and self.completed_at is not None and self.completed_at.date() >= today

    @property
    def final(self) -> bool:
        """Whether nothing more can come: read to its end after the day was over (UTC)."""
        return self.read_to_end_on(self.day + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Overdue:
    """The days of one source that stay incomplete. ``len(days)`` is the number to alarm on."""

    source: str
    days: tuple[date, ...]
    """Oldest first."""
    error: str | None
    """The last word of the newest of them."""


# ---- the pure part ---------------------------------------------------------------------------------------------------


def told(read: DayRead, *, source: str, origin: str, rejected: int, now: datetime) -> SourceDay:
    """What a source's own word on a day amounts to. "Complete" with fewer rows than it announces is not."""
    short = read.expected is not None and read.rows < read.expected
    if read.complete and not short:
        state = CoverageState.COMPLETE if read.rows else CoverageState.EMPTY
    else:
        state = CoverageState.PARTIAL if read.rows else CoverageState.FAILED
    settled = state in _SETTLED
    rejected = min(rejected, read.rows)
    why = read.note or (f"{read.rows} rows came of {read.expected}" if short else "not read to its end")
    return SourceDay(
        source=source,
        day=read.day,
        state=state,
        origin=origin,
        expected=read.expected,
        taken=read.rows - rejected,
        rejected=rejected,
        attempts=1,
        error=None if settled else why,
        read_at=now,
        completed_at=now if settled else None,
    )


def broken_off(day: date, *, source: str, origin: str, taken: int, error: str, now: datetime) -> SourceDay:
    """A day that a reading did not come to the end of: ``taken`` rows of it had come before."""
    state = CoverageState.PARTIAL if taken else CoverageState.FAILED
    return SourceDay(source, day, state, origin, taken=taken, attempts=1, error=error, read_at=now)


def after(before: SourceDay | None, reading: SourceDay) -> SourceDay:
    """What is known of a day after one more reading.

    A reading to the end mends what was broken, and its counts are the newest truth; a poorer reading leaves a complete
    day complete. Only a day that was empty and now has rows becomes partial: then it is not empty. Of two partial
    readings the fuller counts. Attempts add up.
    """
    if before is None:
        return reading
    attempts = before.attempts + reading.attempts
    if reading.state is CoverageState.PENDING:
        return before
    if reading.state is CoverageState.EMPTY and before.rows:
        # A source that forgets a day had it nevertheless.
        fuller = replace(before, state=CoverageState.COMPLETE, error=None, completed_at=reading.completed_at)
    elif reading.state in _SETTLED:
        fuller = reading
    elif before.state is CoverageState.COMPLETE or (
        before.state is CoverageState.EMPTY and reading.state is CoverageState.FAILED
    ):
        fuller = before
    elif reading.rows >= before.rows:
        fuller = replace(reading, expected=before.expected if reading.expected is None else reading.expected)
    else:
        fuller = replace(before, error=reading.error)
    return replace(fuller, origin=reading.origin, attempts=attempts, read_at=reading.read_at)


def explained(known: SourceDay, today: date) -> str:
    """One sentence for a reader: what this source had on this day, or why we do not know."""
    name = PUBLICATIONS.get(known.source, known.source)
    trying = known.day >= today - LONGEST_LOOK_BACK
    match known.state:
        case CoverageState.COMPLETE:
            return ngettext(
                "%(name)s announced %(num)s paper", "%(name)s announced %(num)s papers", known.rows, name=name
            )
        case CoverageState.EMPTY:
            if known.final:
                return _("%(name)s announced nothing on this day", name=name)
            return _("%(name)s has announced nothing yet", name=name)
        case CoverageState.PARTIAL:
            said = (
                _("%(name)s has given %(taken)s of %(expected)s papers so far", name=name, taken=number(known.taken),
                  expected=number(known.expected))
                if known.expected is not None
                else ngettext(
                    "%(name)s has given %(num)s paper so far", "%(name)s has given %(num)s papers so far", known.taken,
                    name=name,
                )
            )  # fmt: skip
            return _("%(said)s; we keep trying", said=said) if trying else said
        case CoverageState.FAILED:
            if trying:
                return _("%(name)s has not answered yet; we keep trying", name=name)
            return _("%(name)s did not answer", name=name)
        case CoverageState.PENDING:
            if trying:
                return _("%(name)s has not told of this day yet; we keep asking", name=name)
            return _("%(name)s has not told of this day", name=name)


# ---- the rows --------------------------------------------------------------------------------------------------------


def since(session: Session, source: str, look_back_days: int, *, now: datetime | None = None) -> date:
    """The day from which to read a source: the oldest within the look-back that is not complete, else today.

    Once a day the complete ones are read again too: sources add to past days, and upvotes grow. A house that stood
    still for longer reads from the last day it knows, and one that was asked to (:func:`ask_again`) from that day, up
    to thirty days back.
    """
    today = (now or datetime.now(UTC)).date()
    furthest = today - LONGEST_LOOK_BACK
    known = {each.day: each for each in _rows(session, source, furthest)}
    day = today - timedelta(days=look_back_days)
    if known:
        day = max(min(day, max(known)), furthest)
    while day < today and day in known and known[day].read_to_end_on(today):
        day += timedelta(days=1)
    wished = select(func.min(AskedAgain.day)).where(AskedAgain.source == source, AskedAgain.day >= furthest)
    again = session.scalar(wished)
    if again is not None:
        day = min(day, again)
    return day


def note(session: Session, readings: Iterable[SourceDay]) -> None:
    """Lay readings over what is known. Within the caller's transaction, which holds the turn of the ingests: the rows
    of a day and the word that they are all there are committed together."""
    for reading in readings:
        row = session.get(Coverage, (reading.source, reading.day))
        known = after(_known(row) if row is not None else None, reading)
        values = {name: getattr(known, name) for name in _COLUMNS}
        if row is None:
            session.add(Coverage(source=known.source, day=known.day, **values))
            session.flush()
        else:
            for name, value in values.items():
                setattr(row, name, value)


def conclude(
    session: Session,
    *,
    source: str,
    origin: str,
    asked: tuple[date, date],
    told_of: Mapping[date, int],
    taken: Mapping[date, int],
    error: str | None,
    now: datetime,
) -> None:
    """After a reading of the days ``asked`` (first and last): what becomes of those the source did not tell of.

    Broken off: partial where rows of the day came (``taken``), else failed. Read to the end: pending. A source that
    was read to its end and tells of no days at all has none, and what an earlier failure noted for it is taken back.
    """
    days = [asked[0] + timedelta(days=n) for n in range((asked[1] - asked[0]).days + 1)]
    untold = [day for day in days if day not in told_of]
    if error is not None:
        broken = (
            broken_off(day, source=source, origin=origin, taken=taken.get(day, 0), error=error, now=now)
            for day in untold
        )
        note(session, broken)
        return
    session.execute(delete(AskedAgain).where(AskedAgain.source == source, AskedAgain.day.between(*asked)))
    if told_of:
        pending = [{"source": source, "day": day, "state": CoverageState.PENDING, "origin": origin} for day in untold]
        if pending:
            session.execute(upsert(Coverage).on_conflict_do_nothing(), pending)
    else:
        session.execute(
            delete(Coverage).where(
                Coverage.source == source,
                Coverage.origin == origin,
                Coverage.state.in_([CoverageState.FAILED, CoverageState.PENDING]),
            )
        )


def ask_again(session: Session, source: str, day: date) -> bool:
    """Have a day read once more, with those after it, by the next reading that comes to its end; whether it is known.

    Days older than the longest look-back are out of reach. Asking twice is asking once.
    """
    if session.get(Coverage, (source, day)) is None:
        return False
    session.execute(upsert(AskedAgain).values(source=source, day=day).on_conflict_do_nothing())
    return True


def asked_again(session: Session) -> frozenset[tuple[str, date]]:
    """The days, by source, that wait for that reading."""
    return frozenset((source, day) for source, day in session.execute(select(AskedAgain.source, AskedAgain.day)))


def of_day(session: Session, day: date) -> list[SourceDay]:
    """What is known of one day, by source. Reads ix_coverage_day."""
    statement = select(Coverage).where(Coverage.day == day).order_by(Coverage.source)
    return [_known(row) for row in session.scalars(statement)]


def listing(session: Session, days: int = 14, *, now: datetime | None = None) -> list[SourceDay]:
    """The last days of every source, newest first."""
    oldest = (now or datetime.now(UTC)).date() - timedelta(days=days - 1)
    statement = select(Coverage).where(Coverage.day >= oldest).order_by(Coverage.day.desc(), Coverage.source)
    return [_known(row) for row in session.scalars(statement)]


def overdue(session: Session, look_back_days: int, *, now: datetime | None = None) -> list[Overdue]:
    """The sources with days that should have been complete by now: failed or partial two days after they began, for
    two weeks; pending ones while the look-back still asks for them."""
    today = (now or datetime.now(UTC)).date()
    statement = (
        select(Coverage)
        .where(
            Coverage.day.between(today - _REMEMBERED, today - _GRACE),
            Coverage.state.in_([CoverageState.FAILED, CoverageState.PARTIAL])
            | ((Coverage.state == CoverageState.PENDING) & (Coverage.day >= today - timedelta(days=look_back_days))),
        )
        .order_by(Coverage.source, Coverage.day)
    )
    found: dict[str, list[SourceDay]] = defaultdict(list)
    for row in session.scalars(statement):
        found[row.source].append(_known(row))
    return [Overdue(source, tuple(each.day for each in days), days[-1].error) for source, days in found.items()]


_COLUMNS: Final = ("state", "origin", "expected", "taken", "rejected", "attempts", "error", "read_at", "completed_at")


def _rows(session: Session, source: str, oldest: date) -> list[SourceDay]:
    statement = select(Coverage).where(Coverage.source == source, Coverage.day >= oldest)
    return [_known(row) for row in session.scalars(statement)]


def _known(row: Coverage) -> SourceDay:
    return SourceDay(
        source=row.source,
        day=row.day,
        state=CoverageState(row.state),
        origin=row.origin,
        expected=row.expected,
        taken=row.taken,
        rejected=row.rejected,
        attempts=row.attempts,
        error=row.error,
        read_at=row.read_at,
        completed_at=row.completed_at,
    )
