"""A CSV file as rows: one bad row costs that row only."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from service.subscribers.importing import records

_SPOILT = ('x@e.org,"open', 'a"b"c,"', '"a"b,c')
_CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('",;\n'), max_size=20)


def _read(text: str) -> list[records.Row]:
    return list(records.rows(io.StringIO(text, newline=""), ","))


@given(st.lists(st.tuples(_CELLS, _CELLS).filter(lambda cells: any(cells) and "".join(cells).strip()), max_size=8))
def test_what_the_csv_module_writes_comes_back_row_by_row(written: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(written)

    found = _read(file.getvalue())

    assert [row.cells for row in found] == written
    assert [row.number for row in found] == list(range(1, len(written) + 1))


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    for row in _read(text):
        assert bool(row.problem) != bool(row.cells)


@given(
    before=st.integers(0, 5), after=st.integers(1, 300), spoilt=st.sampled_from(['x@e.org,"open', 'a"b"c,"', '"a"b,c'])
)
def test_a_quotation_mark_out_of_place_costs_its_own_row_only(before: int, after: int, spoilt: str) -> None:
    good = [f"good{number}@example.org,{number}" for number in range(before + after)]
    lines = [*good[:before], spoilt, *good[before:]]

    found = _read("\n".join(lines) + "\n")

    assert [",".join(row.cells) for row in found if not row.problem] == good
    assert [row.number for row in found if row.problem] == [before + 1]


def test_two_open_quotation_marks_do_not_swallow_what_stands_between() -> None:
    found = _read('a,"one\nb,2\nc,3\nd,"four\ne,5\n')

    assert [row.cells for row in found if not row.problem] == [("b", "2"), ("c", "3"), ("e", "5")]


def test_a_row_of_endless_length_costs_itself() -> None:
    found = _read("a," + "x" * (records.LONGEST_ROW + 1) + "\nb,2\n")

    assert [bool(row.problem) for row in found] == [True, False]


def test_bytes_that_are_not_utf8_cost_their_row() -> None:
    text = b"a@example.org,caf\xe9\nb@example.org,fine\n".decode("utf-8", "surrogateescape")

    assert [row.problem for row in _read(text)] == ["is not UTF-8", ""]
