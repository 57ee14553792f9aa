from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.database import Database
from service.database.tables import CoverageState
from service.papers import coverage, ingest
from service.papers.coverage import SourceDay
from service.papers.record import DayRead, Problem, Row, SourceError
from tests.factories import TODAY, Listed, record

NOW = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(hours=9)
YESTERDAY, EARLIER, EARLIEST = (TODAY - timedelta(days=n) for n in (1, 2, 3))
SETTLED = (CoverageState.COMPLETE, CoverageState.EMPTY)


class Source:
    """Yields these rows, then breaks off where it is told to."""

    name, origin = "arxiv", "https://arxiv.example/feed"

    def __init__(self, *rows: Row, breaks: str | None = None, origin: str = origin) -> None:
        self.rows, self.breaks, self.origin = rows, breaks, origin

    def fetch(self, since: date) -> Iterator[Row]:
        assert since <= TODAY
        yield from self.rows
        if self.breaks:
            raise SourceError(self.breaks)


def read(database: Database, source: Source, since: date = EARLIEST, now: datetime = NOW) -> ingest.IngestReport:
    return ingest.ingest(database, source, since, now=now, by_days=True)


def states(database: Database) -> dict[date, CoverageState]:
    with database.transaction() as session:
        return {each.day: each.state for each in coverage.listing(session, 30, now=NOW)}


def known(database: Database, day: date) -> SourceDay:
    with database.transaction() as session:
        (only,) = coverage.of_day(session, day)
    return only


def since(database: Database, now: datetime = NOW) -> date:
    with database.transaction() as session:
        return coverage.since(session, "arxiv", 3, now=now)


def test_each_day_told_of_has_its_state_and_counts_and_the_untold_are_pending(database: Database) -> None:
    report = read(
        database,
        Source(
            record(listed_on=EARLIEST), Problem("row 2", "has no title"), DayRead(EARLIEST, 2, expected=2),
            DayRead(EARLIER, 0),
            record(listed_on=YESTERDAY), DayRead(YESTERDAY, 1, expected=3),
        ),
    )  # fmt: skip
    assert (report.seen, report.new, report.rejected) == (3, 2, 1)
    assert states(database) == {
        EARLIEST: CoverageState.COMPLETE,
        EARLIER: CoverageState.EMPTY,
        YESTERDAY: CoverageState.PARTIAL,
        TODAY: CoverageState.PENDING,
    }
    first = known(database, EARLIEST)
    assert (first.expected, first.taken, first.rejected, first.attempts, first.error) == (2, 1, 1, 1, None)
    assert known(database, YESTERDAY).error == "1 rows came of 3"


def test_a_source_that_breaks_off_leaves_told_days_partial_days_and_failed_days(database: Database) -> None:
    rows = (record(listed_on=EARLIEST), DayRead(EARLIEST, 1), record(listed_on=EARLIER))
    read(database, Source(*rows, breaks="the line went dead"))
    assert states(database) == {
        EARLIEST: CoverageState.COMPLETE,
        EARLIER: CoverageState.PARTIAL,
        YESTERDAY: CoverageState.FAILED,
        TODAY: CoverageState.FAILED,
    }
    assert known(database, TODAY).error == "the line went dead"


def test_a_later_complete_reading_mends_and_a_later_failure_breaks_nothing(database: Database) -> None:
    read(database, Source(breaks="no answer"))
    assert since(database) == EARLIEST
    days = [DayRead(day, 0) for day in (EARLIEST, EARLIER, YESTERDAY)]
    read(database, Source(*days, record(), DayRead(TODAY, 1)))
    for source in (Source(breaks="no answer"), Source(DayRead(TODAY, 1, complete=False, note="cut off"))):
        read(database, source)
        assert states(database) == {day.day: CoverageState.EMPTY for day in days} | {TODAY: CoverageState.COMPLETE}
    assert known(database, TODAY).attempts == 4
    assert known(database, TODAY).error is None


def test_the_next_reading_begins_at_the_oldest_day_that_is_not_complete(database: Database) -> None:
    assert since(database) == EARLIEST
    read(database, Source(*(DayRead(day, 0) for day in (EARLIEST, EARLIER, YESTERDAY, TODAY))))
    assert since(database) == TODAY


def test_once_a_day_the_whole_look_back_is_read_again(database: Database) -> None:
    """A day may have grown after it was read, and its papers' upvotes have."""
    read(database, Source(*(DayRead(day, 0) for day in (EARLIEST, EARLIER, YESTERDAY, TODAY))))
    tomorrow = NOW + timedelta(days=1)
    assert since(database, tomorrow) == EARLIER
    read(database, Source(*(DayRead(day, 0) for day in (EARLIER, YESTERDAY, TODAY))), EARLIER, tomorrow)
    assert since(database, tomorrow) == TODAY + timedelta(days=1)


def test_a_gap_in_the_look_back_is_asked_for_again_until_it_is_filled(database: Database) -> None:
    days = (EARLIEST, YESTERDAY, TODAY)
    read(database, Source(*(DayRead(day, 0) for day in days)))
    assert states(database)[EARLIER] is CoverageState.PENDING
    assert since(database) == EARLIER
    read(database, Source(record(listed_on=EARLIER), DayRead(EARLIER, 1)), EARLIER)
    assert since(database) == TODAY


def test_a_house_that_stood_still_reads_from_the_last_day_it_knows_up_to_thirty_days(database: Database) -> None:
    read(database, Source(DayRead(TODAY, 0)), TODAY)
    assert since(database, NOW + timedelta(days=12)) == TODAY
    assert since(database, NOW + timedelta(days=90)) == TODAY + timedelta(days=87)


def test_a_source_without_days_has_no_coverage_once_it_has_answered(database: Database) -> None:
    read(database, Source(breaks="no answer"))
    read(database, Source(DayRead(TODAY, 0), origin="https://arxiv.example/other"), TODAY)
    read(database, Source(record()))
    assert states(database) == {TODAY: CoverageState.EMPTY}


def test_reading_a_file_says_nothing_of_days(database: Database) -> None:
    ingest.ingest(database, Listed(record()), TODAY)
    ingest.ingest(database, Source(breaks="damaged"), TODAY)
    assert states(database) == {}


def test_a_day_is_complete_only_with_its_rows(database: Database) -> None:
    """The word on a day stands behind its rows; a crash between them must not leave the word alone."""

    class Dies(Source):
        def fetch(self, since: date) -> Iterator[Row]:
            assert since == EARLIEST
            yield from (record(listed_on=YESTERDAY) for _ in range(600))
            yield DayRead(YESTERDAY, 600)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(database, Dies())
    assert states(database) == {}
    assert since(database) == EARLIEST


def test_days_that_stay_incomplete_are_overdue_and_a_mended_one_is_not(database: Database) -> None:
    read(database, Source(breaks="no answer"))
    with database.transaction() as session:
        (late,) = coverage.overdue(session, 3, now=NOW)
        assert (late.source, late.days, late.error) == ("arxiv", (EARLIEST, EARLIER), "no answer")
        much_later = coverage.overdue(session, 3, now=NOW + timedelta(days=20))
    assert much_later == []
    read(database, Source(DayRead(EARLIEST, 0), DayRead(EARLIER, 0)))
    with database.transaction() as session:
        assert coverage.overdue(session, 3, now=NOW) == []


def test_a_reader_is_told_why_a_day_is_empty() -> None:
    def said(state: CoverageState, day: date = YESTERDAY, completed_at: datetime | None = NOW, taken: int = 0) -> str:
        return coverage.explained(
            SourceDay("arxiv", day, state, expected=9, taken=taken, completed_at=completed_at), TODAY
        )

    assert said(CoverageState.EMPTY) == "arXiv announced nothing on this day"
    assert said(CoverageState.EMPTY, TODAY) == "arXiv has announced nothing yet"
    assert said(CoverageState.FAILED) == "arXiv has not answered yet; we keep trying"
    assert said(CoverageState.FAILED, TODAY - timedelta(days=60)) == "arXiv did not answer"
    assert said(CoverageState.PARTIAL, taken=4) == "arXiv has given 4 of 9 papers so far; we keep trying"
    assert said(CoverageState.PENDING) == "arXiv has not told of this day yet; we keep asking"
    assert said(CoverageState.COMPLETE, taken=1) == "arXiv announced 1 paper"


# ---- the rule, for any row of readings -------------------------------------------------------------------------------

_READS = st.builds(
    DayRead,
    day=st.just(TODAY),
    rows=st.integers(0, 5),
    expected=st.none() | st.integers(0, 6),
    complete=st.booleans(),
    note=st.sampled_from(["", "cut off"]),
)


def _reading(read: DayRead) -> SourceDay:
    return coverage.told(read, source="arxiv", origin="o", rejected=1, now=NOW)


@given(st.lists(_READS, min_size=1, max_size=8))
def test_whatever_the_readings_a_day_is_never_known_worse_than_its_best_reading(reads: list[DayRead]) -> None:
    known: SourceDay | None = None
    most = 0
    for read in reads:
        before, reading = known, _reading(read)
        known = coverage.after(known, reading)
        most = max(most, reading.rows)
        if before is not None and before.state is CoverageState.COMPLETE:
            assert known.state is CoverageState.COMPLETE
        if reading.state in SETTLED:
            assert known.state in SETTLED
        # Empty is said only of a day of which no row has ever come.
        assert (known.state is CoverageState.EMPTY) <= (most == 0)
        assert (known.error is None) == (known.state in SETTLED)
        assert (known.completed_at is not None) or known.state not in SETTLED
        if known.state is CoverageState.PARTIAL:
            assert known.rows == most > 0
    assert known is not None
    assert known.attempts == len(reads)
