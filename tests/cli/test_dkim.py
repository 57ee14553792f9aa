"""`paperround dkim`, as an operator uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


def test_a_key_is_made_published_and_never_shown(paperround: Run, tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    sender = {"PAPERROUND_FROM": "Papers <digest@papers.example>"}
    made = paperround("dkim", "--make", path, **sender)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith('paperround._domainkey.papers.example. IN TXT ( "v=DKIM1; k=rsa; p=')
    assert f"PAPERROUND_DKIM_KEY_FILE={path}" in made.stdout
    secret = "".join(path.read_text().split("\n")[1:3])
    shown = paperround("dkim", "--json", PAPERROUND_DKIM_KEY_FILE=str(path), **sender)
    (record,) = json.loads(shown.stdout)
    assert record["name"] == "paperround._domainkey.papers.example"
    assert record["value"] in made.stdout.replace('" "', "")
    assert secret not in made.stdout + shown.stdout

    again = paperround("dkim", "--make", path, **sender)
    assert again.returncode == 2
    assert "never overwritten" in again.stderr
    assert again.stderr.count("\n") == 1


def test_without_a_key_it_says_how_to_make_one(paperround: Run) -> None:
    assert "dkim --make FILE" in paperround("dkim").stdout
