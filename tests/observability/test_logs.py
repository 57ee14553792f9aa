"""Logs carry ids and never addresses, in a process that logs all it can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_a_round_in_which_much_goes_wrong_logs_ids_and_no_address(settings: Settings, tmp_path: Path) -> None:
    assert settings.secret is not None
    environment = os.environ | {
        "PAPERROUND_HOME": str(tmp_path),
        "PAPERROUND_DATABASE_URL": settings.database_url or "",
        "PAPERROUND_SECRET": settings.secret.get_secret_value(),
        "PAPERROUND_SMTP_URL": "smtp://127.0.0.1:9",
        "PAPERROUND_FROM": settings.sender,
        "PAPERROUND_RETURN_DOMAIN": "papers.example",
        "PAPERROUND_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-m", "tests.observability.logged_round"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} >= {"warning"}
    keys = {key for line in lines for key in line}
    assert "reader" in keys, "who it was is told by an id"
    assert ".secret" not in done.stderr
    assert "@example.org" not in done.stderr
