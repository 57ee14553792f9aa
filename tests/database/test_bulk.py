from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.database import Database, bulk
from service.database.engine import raw

BIG = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(
    st.tuples(BIG, st.integers(-(2**31), 2**31 - 1), st.lists(BIG, max_size=4), st.lists(BIG, max_size=2)), max_size=8
)


def column(lists: list[list[int]]) -> bulk.Ragged:
    start = np.concatenate(([0], np.cumsum([len(each) for each in lists], dtype=np.int64)))
    return bulk.Ragged(start, np.array([number for each in lists for number in each], np.int64))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_what_goes_in_comes_out(database: Database, rows: list[tuple[int, int, list[int], list[int]]]) -> None:
    with database.transaction() as session:
        connection = raw(session)
        connection.execute("CREATE TEMPORARY TABLE kept (a bigint, b int, c bigint[], d bigint[]) ON COMMIT DROP")
        packed = bulk.ragged(
            [
                np.array([row[0] for row in rows], np.int64).astype(">i8"),
                np.array([row[1] for row in rows], np.int64).astype(">i4"),
                column([row[2] for row in rows]),
                column([row[3] for row in rows]),
            ]
        )
        bulk.copy(connection, "COPY kept FROM STDIN (FORMAT binary)", packed)
        assert connection.execute("SELECT * FROM kept").fetchall() == rows
        with connection.cursor(binary=True) as cursor:
            sent = cursor.execute(
                "SELECT array_send(array_agg(a)), array_send(array_agg(b)), array_send(array_agg(b::bigint)) FROM kept"
            ).fetchall()[0]
    assert bulk.numbers(sent[0]).tolist() == [row[0] for row in rows]
    assert bulk.numbers(sent[1]).tolist() == bulk.numbers(sent[2]).tolist() == [row[1] for row in rows]


def test_arrays_sent_one_after_the_other_are_read_at_once_and_columns_go_in_as_parameters(database: Database) -> None:
    sizes, numbers, small = np.array([2, 0, 1]), np.array([2**40, -1, 7]), np.array([1, -300, 9])
    start = np.array([0, 2, 2, 3])
    with database.transaction() as session, bulk.cursor(session) as cursor:
        cursor.execute("CREATE TEMPORARY TABLE kept (n bigint, a bigint[], b smallint[]) ON COMMIT DROP")
        rows = bulk.ragged([np.arange(3).astype(">i8"), bulk.Ragged(start, numbers), bulk.Ragged(start, small, ">i2")])
        bulk.copy(raw(session), "COPY kept FROM STDIN (FORMAT binary)", rows)
        sent = cursor.execute(
            "SELECT string_agg(array_send(a), '' ORDER BY n), string_agg(array_send(b), '' ORDER BY n) FROM kept"
        ).fetchall()[0]
        assert bulk.elements(sent[0], sizes, ">i8").tolist() == numbers.tolist()
        assert bulk.elements(sent[1], sizes, ">i2").tolist() == small.tolist()
        assert len(bulk.elements(None, sizes[:0], ">i8")) == 0
        found = cursor.execute("SELECT n FROM kept WHERE n = ANY(%s) ORDER BY n", (np.array([2, 0]),)).fetchall()
        assert found == [(0,), (2,)]
        assert cursor.execute("SELECT %s::bigint[]", (np.empty(0, np.int64),)).fetchall() == [([],)]


def test_text_of_one_length_and_times_go_in(database: Database) -> None:
    with database.transaction() as session:
        connection = raw(session)
        connection.execute("CREATE TEMPORARY TABLE kept (a text, b timestamptz, c smallint) ON COMMIT DROP")
        columns = [np.array([b"abc", b"xyz"]), bulk.timestamps(np.array([0, 1_500_000])), np.array([1, 2], ">i2")]
        bulk.copy(connection, "COPY kept FROM STDIN (FORMAT binary)", bulk.fixed(columns))
        found = connection.execute("SELECT a, extract(epoch FROM b)::text, c FROM kept").fetchall()
    assert found == [("abc", "0.000000", 1), ("xyz", "1.500000", 2)]


def test_moments_come_out_as_microseconds_of_unix_time(database: Database) -> None:
    with database.transaction() as session, bulk.cursor(session) as cursor:
        query = (
            "SELECT array_send(array_agg(at)) FROM unnest('{1970-01-01Z,2026-11-24 07:00:00.25Z}'::timestamptz[]) AS at"
        )
        sent = cursor.execute(query).fetchall()[0][0]
    assert bulk.numbers(sent).tolist() == [0, 1_795_503_600_250_000]
    assert (bulk.timestamps(bulk.numbers(sent)) + bulk.EPOCH).tolist() == [0, 1_795_503_600_250_000]
