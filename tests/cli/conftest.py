from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.database.embedded import EmbeddedPostgres

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """A newcomer's: a data folder of their own, no settings, and sources that cannot be reached."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")}
    return clean | {
        "PAPERROUND_HOME": str(home),
        "PAPERROUND_HUGGINGFACE_URL": "http://no-such-host.invalid",
        "PAPERROUND_ARXIV_RSS_URL": "http://no-such-host.invalid",
    }


@pytest.fixture
def standing(home: Path) -> Iterator[None]:
    """The embedded server stands throughout, so that not every command starts and stops it."""
    server = EmbeddedPostgres(home / "postgres")
    server.start()
    yield
    server.release()


@pytest.fixture
def paperround(environment: dict[str, str]) -> Run:
    """The command line as a process of its own."""

    def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=100, check=False)

    return run
