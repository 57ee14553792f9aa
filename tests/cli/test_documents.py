"""The command lines of the documents, run as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from service.database import Database
from service.database.tables import Delivery
from service.digests import plan
from service.settings import Settings
from service.subscribers.topics import catalogue
from tests import factories
from tests.cli.conftest import Say, typed_on
from tests.delivery.servers import sink

DOCS = Path(__file__).parents[2] / "docs"
REFUSED = {
    "ingest": "cannot be reached",
    "coverage": "overdue",
}
"""What the commands say where the sources do not answer."""
ELSEWHERE = {"doctor", "dkim", "ingest --all"}
"""Tried by tests of their own: they ask the DNS, write outside, or into another program."""


def lines(document: str, section: str = "") -> Iterator[str]:
    """Of the blocks of a document, or of one section: a line each."""
    words = (DOCS / document).read_text()
    if section:
        words = words.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    for block in re.findall(r"^```\n(.*?)^```", words, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


def command(line: str) -> list[str]:
    """The words after `paperround`; none for another line. What may be left out is left out."""
    words = shlex.split(re.sub(r" \[.*?\]", "", line), comments=True)
    return words[1:] if words[:1] == ["paperround"] else []


@pytest.mark.parametrize("document", ["operating.md", "dashboard.md", "returns.md", "upgrading.md"])
def test_every_command_line_does_what_it_is_there_for(
    document: str, typed: Say, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue.sync(database)
    (tmp_path / "list.csv").write_text("email\nbob@example.org\n")
    if document == "returns.md":
        typed("readers", "add", "ada@example.org", "--confirmed")
    restoring = set(lines(document, "Backup"))
    run = 0
    for line in lines(document):
        words = command(line)
        if not words or line in restoring or " ".join(words[:2]) in ELSEWHERE or words[0] in ELSEWHERE:
            continue
        said = typed(*words)
        run += 1
        if words[0] in REFUSED:
            assert REFUSED[words[0]] in said, line
        else:
            assert not said.startswith("paperround:"), (line, said)
    assert run >= 2


def test_the_lines_for_a_lost_machine_bring_it_back_and_nobody_is_mailed_twice(
    say: Say, database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    readers = [f"r{number}@example.org" for number in range(3)]
    for each in readers:
        factories.reader(database, settings, each, queries=["robots"])
    factories.edition(database, factories.record("Walking Robots"))
    plan.plan_due(database, settings, everyone=True)
    steps = []
    with sink() as server:
        typed_on(settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"}), monkeypatch)
        with database.transaction() as session:
            waiting = session.scalars(select(Delivery).order_by(Delivery.id)).first()
            assert waiting is not None
            first = waiting.id
            waiting.due_at = datetime.now(UTC) + timedelta(hours=1)
        say("round")
        assert sorted(server.recipients) == readers[1:], "one waits"
        for line in lines("operating.md", "Backup"):
            database.engine.dispose()
            if line.startswith("# stop every process"):
                with database.connection() as connection:
                    connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
            elif words := command(line):
                said = say(*words)
                assert not said.startswith("paperround:"), (line, said)
                steps.append(words[0])
                if words[0] == "restore":
                    with database.connection() as connection:
                        connection.execute(text("UPDATE delivery SET due_at = now() WHERE id = :id"), {"id": first})
        assert steps == ["backup", "migrate", "restore", "round"]
        assert sorted(server.recipients) == readers, "what waited went out, what was sent did not"
        factories.edition(database, factories.record("Talking Robots"))
        assert "3 digests planned: 3 sent" in say("round", "--now")
        assert sorted(server.recipients) == sorted(readers * 2)
