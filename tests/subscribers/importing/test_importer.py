"""Lists of readers: in, on after a kill, and out again."""

import csv
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from service.database import Database
from service.database.tables import ConsentEvent, Interest, Reader, ReaderImport
from service.settings import Settings
from service.subscribers import accounts, addresses, export, importing, suppression
from service.subscribers.consent import Visit
from service.subscribers.importing import ImportOptions, ImportRefused, importer
from service.subscribers.topics import catalogue
from tests import factories

CONSENT = "Signed up at the library desk, forms of 2026"


@pytest.fixture(autouse=True)
def topics(database: Database) -> None:
    catalogue.sync(database)


def _list(tmp_path: Path, *rows: str, header: str = "email,topics,queries,hour,timezone") -> Path:
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def _options(path: Path, **fields: object) -> ImportOptions:
    return ImportOptions(consent=CONSENT, bad_rows=path.with_suffix(".bad"), **fields)  # type: ignore[arg-type]


def _count(database: Database, table: type) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_readers_are_entered_as_if_one_by_one(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = _list(tmp_path, "Ada@example.org,reasoning,robot arm,18,Europe/Berlin", "bob@example.org,,,,")

    report = importing.run(database, settings, path, _options(path))

    assert (report.rows, report.entered, report.bad) == (2, 2, 0)
    with database.transaction() as session:
        ada, bob = session.scalars(select(Reader).order_by(Reader.email)).all()
        assert (ada.state, ada.digest_hour, ada.timezone) == ("active", 18, "Europe/Berlin")
        assert ada.next_digest_at is not None
        labels = select(Interest.label).where(Interest.reader_id == ada.id).order_by(Interest.label)
        assert session.scalars(labels).all() == ["Reasoning", "robot arm"]
        assert session.scalars(select(Interest.topic_slug).where(Interest.reader_id == bob.id)).all() == [
            "daily-papers"
        ]
        event = session.scalars(select(ConsentEvent).where(ConsentEvent.reader_id == ada.id)).one()
        assert (event.kind, event.wording, event.origin) == ("entered", CONSENT, "import of list.csv")
        assert event.address_hash == addresses.hashed(settings, "ada@example.org")


def test_bad_rows_are_listed_and_good_ones_taken(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = _list(tmp_path, "a@example.org,,,,", "broken@,,,,", "b@example.org,nope,,,", "c@example.org,,,,")

    report = importing.run(database, settings, path, _options(path))

    assert (report.entered, report.bad) == (2, 2)
    bad = list(csv.reader(path.with_suffix(".bad").read_text().splitlines()))
    assert [row[0] for row in bad[1:]] == ["2", "3"]
    assert "cannot receive mail" in bad[1][1]
    assert bad[2][2] == "b@example.org"
    assert path.with_suffix(".bad").stat().st_mode & 0o077 == 0


def test_who_is_known_suppressed_or_gone_stays_so(database: Database, settings: Settings, tmp_path: Path) -> None:
    known = factories.reader(database, settings, "known@example.org", queries=["gears"])
    gone = factories.reader(database, settings, "gone@example.org", queries=["gears"])
    with database.transaction() as session:
        accounts.unsubscribe(session, settings, gone, Visit("test"))
        suppression.add(session, addresses.hashed(settings, "bounced@example.org"), reason="hard bounce")
    path = _list(
        tmp_path,
        "known@example.org,reasoning,,,",
        "GONE@example.org,reasoning,,,",
        "bounced@example.org,,,,",
        "new@example.org,,,,",
        "New@Example.org,,,,",
    )

    report = importing.run(database, settings, path, _options(path))

    assert (report.entered, report.known, report.suppressed) == (1, 3, 1)
    with database.transaction() as session:
        assert session.scalars(select(Interest.label).where(Interest.reader_id == known)).all() == ["gears"]
        left = session.get(Reader, gone)
        assert left is not None
        assert left.state == "unsubscribed"


def test_a_dry_run_says_the_same_and_changes_nothing(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = _list(tmp_path, "a@example.org,,a new query,,", "b@example.org,,a new query,,", "broken,,,,")

    dry = importing.run(database, settings, path, _options(path, dry_run=True))

    assert _count(database, Reader) == _count(database, ReaderImport) == 0
    assert importing.run(database, settings, path, _options(path)) == dry
    assert _count(database, Reader) == 2


def test_blocked_addresses_of_another_service_are_suppressed(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = _list(
        tmp_path,
        "0-1,a@example.org,A,{},enabled",
        "0-2,b@example.org,B,{},blocklisted",
        header="uuid,email,name,attributes,status",
    )

    report = importing.run(database, settings, path, _options(path))

    assert (report.entered, report.suppressed) == (1, 1)
    with database.transaction() as session:
        assert suppression.contains(session, addresses.hashed(settings, "b@example.org"))


def test_the_same_file_again_changes_nothing(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = _list(tmp_path, "a@example.org,,,,", "b@example.org,,,,")
    importing.run(database, settings, path, _options(path))

    report = importing.run(database, settings, path, _options(path))

    assert (report.entered, report.known, report.resumed_at) == (0, 2, 0)
    assert _count(database, ConsentEvent) == 2


@pytest.mark.parametrize("broken_after", [1, 2, 3])
def test_an_import_cut_short_goes_on_where_it_stopped(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_after: int
) -> None:
    monkeypatch.setattr(importer, "_CHUNK", 2)
    rows = [f"r{number}@example.org,,,," if number % 3 else f"broken{number},,,," for number in range(12)]
    path = _list(tmp_path, *rows)

    def pull_the_plug(done: int) -> None:
        if done >= 2 * broken_after:
            raise ConnectionError("the plug was pulled")

    with pytest.raises(ConnectionError):
        importing.run(database, settings, path, _options(path), on_progress=pull_the_plug)
    report = importing.run(database, settings, path, _options(path))

    assert report.resumed_at >= 2 * broken_after
    assert (report.rows, report.entered, report.bad) == (12, 8, 4)
    assert _count(database, Reader) == _count(database, ConsentEvent) == 8
    bad = list(csv.reader(path.with_suffix(".bad").read_text().splitlines()))
    assert [row[0] for row in bad] == ["row", "1", "4", "7", "10"]


def test_what_is_in_two_chunks_at_once_is_one_reader(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "_CHUNK", 3)
    rows = [f"r{number % 7}@example.org,,a query about thing {number % 5},," for number in range(60)]
    path = _list(tmp_path, *rows)
    told: list[int] = []

    report = importing.run(database, settings, path, _options(path), on_progress=told.append)

    assert (report.rows, report.entered, report.known) == (60, 7, 53)
    assert told == sorted(told), "chunks are done in the order of the file"
    assert _count(database, Reader) == _count(database, ConsentEvent) == _count(database, Interest) == 7


def test_one_list_is_imported_at_a_time(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = _list(tmp_path, "a@example.org,,,,")
    other = tmp_path / "other.csv"
    other.write_text("email\nb@example.org\n")

    def at_the_same_time(_: int) -> None:
        with pytest.raises(ImportRefused, match="a list is being imported at this moment"):
            importing.run(database, settings, other, _options(other))

    importing.run(database, settings, path, _options(path), on_progress=at_the_same_time)


def test_an_import_without_a_statement_of_consent_is_refused(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = _list(tmp_path, "a@example.org,,,,")

    with pytest.raises(ImportRefused, match="--consent needs a sentence"):
        importing.run(database, settings, path, ImportOptions(consent="  yes "))


def test_a_file_that_is_not_there_or_empty_is_refused(database: Database, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()

    for name, said in (("none.csv", "cannot be read"), ("empty.csv", "is empty")):
        with pytest.raises(ImportRefused, match=said):
            importing.run(database, settings, tmp_path / name, ImportOptions(consent=CONSENT))


def test_an_export_can_be_imported_into_an_empty_house(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = _list(
        tmp_path,
        'a@example.org,reasoning,"robot arm\ngears -survey",18,Europe/Berlin,,mon,weekly,yes',
        "b@example.org,surveys reasoning,,0,Asia/Tokyo,reasoning,,,",
        header="email,topics,queries,hour,timezone,more_topics,weekdays,cadence,plain_text",
    )
    importing.run(database, settings, path, _options(path))
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    with first.open("wb") as file:
        export.export(database, file)
    with database.connection() as connection:
        connection.execute(text("TRUNCATE reader, interest CASCADE"))

    report = importing.run(database, settings, first, _options(first))
    with second.open("wb") as file:
        export.export(database, file)

    assert report.entered == 2

    def without_moment(path: Path) -> list[list[str]]:
        return [row[:-1] for row in csv.reader(path.open(newline=""))]

    assert without_moment(first) == without_moment(second)
    rows = list(csv.DictReader(first.open(newline="")))
    assert [len(row["queries"].splitlines()) for row in rows] == [2, 0]
    assert [(row["cadence"], row["plain_text"], row["more_topics"]) for row in rows] == [
        ("weekly", "t", ""),
        ("daily", "f", "reasoning"),
    ]
    assert [row["topics"] for row in rows] == ["reasoning", "surveys reasoning"]


def test_json_lines_hold_what_csv_holds(database: Database, settings: Settings, tmp_path: Path) -> None:
    factories.reader(database, settings, "a@example.org", queries=['"two words" OR gears'])
    path = tmp_path / "out.jsonl"

    with path.open("wb") as file:
        export.export(database, file, export.Form.JSONL)

    line = path.read_text()
    assert line.count("\n") == 1
    assert '"email":"a@example.org"' in line
