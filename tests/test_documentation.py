"""What the documents show must work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.doorbell import Queue
from service.matching import language
from service.settings import Settings

ROOT = Path(__file__).parents[1]
QUERIES = [
    line
    for block in re.findall(r"```query\n(.*?)```", (ROOT / "docs" / "query-language.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_documented_query_is_understood(query: str) -> None:
    assert language.explain(language.parse(query))


def test_the_examples_in_the_table_are_understood() -> None:
    table = (ROOT / "docs" / "query-language.md").read_text()
    examples = re.findall(r"`((?:title|abstract|author|org|cat|primary|source):[^`]+)`", table)
    assert len(examples) >= 8
    for example in examples:
        assert language.explain(language.parse(example))


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(documents) > 10
    missing = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert missing == []


def test_every_file_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:service|workers|templates|tests|docs)/[\w./-]*)`", text)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_test_that_is_named_for_the_mails_exists() -> None:
    table = (ROOT / "docs" / "mails.md").read_text()
    assert [int(each) for each in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(range(1, 23))
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert set(re.findall(r"`(test_\w+)`", table)) <= there


def test_every_promise_of_the_threat_model_has_a_test_that_exists() -> None:
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 25
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row.split("|")[3]))
        assert named or "`.ci/run`" in row, row
        assert named <= there, named - there


def test_every_documented_setting_exists() -> None:
    text = (ROOT / "docs" / "operating.md").read_text() + (ROOT / "docker-compose.yml").read_text()
    known = {name.upper() for name in Settings.model_fields} | {"FROM"}
    assert set(re.findall(r"PAPERROUND_([A-Z_]+)", text)) <= known
    table = re.search(r"\| setting \|.*?\n\n", text, re.DOTALL)
    assert table is not None
    listed = {
        name for row in table[0].splitlines()[2:] if row for name in row.split("|")[1].replace(" ", "").split(",")
    }
    assert listed <= known


def test_the_compose_file_starts_a_worker_for_every_queue() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"--queue, (\w+)", text)) == {queue.value for queue in Queue}
