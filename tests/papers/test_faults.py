"""Every source at once, on a bad day: what can be had is had once, and the coverage table says what could not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from service import rounds
from service.database import Database
from service.database.tables import FetchHost, Paper
from service.papers import coverage
from service.settings import Settings
from tests.papers import fault_server
from tests.papers.fault_server import Server, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage(datetime.now(UTC).date())


@pytest.fixture
def servers(stage: Stage) -> Iterator[dict[str, Server]]:
    with fault_server.playing(stage) as playing:
        yield playing


def titles(database: Database) -> list[str]:
    with database.transaction() as session:
        return sorted(session.scalars(select(Paper.title)))


def test_each_good_paper_is_had_exactly_once_and_the_coverage_table_is_truthful(
    database: Database, settings: Settings, stage: Stage, servers: dict[str, Server]
) -> None:
    told = {
        name.removeprefix("PAPERROUND_").lower(): value for name, value in fault_server.environment(servers).items()
    }
    faulty = Settings.model_validate(settings.model_dump() | told | {"fetch_timeout_seconds": 0.5})
    reports = {report.source: report for report in rounds.gather(database, faulty)}
    assert titles(database) == sorted(stage.expected)

    read = {name.rpartition("/")[2]: report for name, report in reports.items()}
    assert {name for name, report in read.items() if report.error is not None} == {
        "huggingface", "arxiv-oai", "medrxiv", "bomb", "gzip-bomb", "reset", "empty",
    }  # fmt: skip
    assert "10.0.0.1 is a private address" in str(reports["medrxiv"].error)
    assert "declares entities" in str(read["bomb"].error)
    assert "more than 64 MiB" in str(read["gzip-bomb"].error)
    assert read["arxiv-api"].rejected == 1, "a refusal of the API is told, and fails nothing"

    zero, one, two, three = stage.days
    with database.transaction() as session:
        known = {(each.source, each.day): each for each in coverage.listing(session, 4)}
    counts = {key: (str(each.state), each.taken, each.rejected) for key, each in known.items()}
    assert counts["huggingface", zero] == ("complete", 3, 0)
    assert counts["huggingface", one] == ("complete", 103, 0)
    assert counts["huggingface", two] == ("failed", 0, 0)
    assert "answered 500" in str(known["huggingface", two].error)
    assert counts["huggingface", three] == ("complete", 3, 2)
    assert counts["arxiv", zero] == ("complete", 9, 1)
    for day in (one, two, three):
        assert counts["arxiv", day][0] == ("empty" if day.weekday() > 4 else "pending")
    assert counts["arxiv-oai", zero][0] == "failed"
    assert [counts["arxiv-oai", day][:2] for day in (one, two, three)] == [
        ("complete", 3), ("complete", 2), ("complete", 4),
    ]  # fmt: skip
    assert counts["biorxiv", zero] == ("complete", 3, 0)
    assert counts["biorxiv", one] == ("partial", 3, 0), "it says five and gives three"
    assert known["biorxiv", one].expected == 5
    assert counts["biorxiv", two] == ("empty", 0, 0)
    assert counts["biorxiv", three] == ("complete", 32, 0)
    assert {counts["medrxiv", day][0] for day in stage.days} == {"failed"}
    assert not any(source.startswith("feed") for source, _ in counts), "feeds have no days"

    with database.transaction() as session:
        api = session.get_one(FetchHost, f"127.0.0.1:{servers['arxiv-api'].server_port}")
        assert api.failures == 1
        assert api.not_before is not None
        assert api.not_before > datetime.now(UTC), "the pause outlives this process"

    again = {report.source: report for report in rounds.gather(database, faulty)}
    assert sum(report.new for report in again.values()) == 0
    assert titles(database) == sorted(stage.expected)
    assert servers["arxiv"].unchanged == 1, "asked with its ETag"
    assert again["arxiv"].seen == reports["arxiv"].seen, "what is unchanged is read from the kept body"
