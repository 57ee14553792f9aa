from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import logs
from service.cli import backups, door, processes, secret
from service.cli.app import app
from service.cli.door import USER_ERRORS
from service.database.embedded import EmbeddedPostgres
from service.returns import imap
from service.settings import Settings

Run = Callable[..., subprocess.CompletedProcess[str]]
Say = Callable[..., str]


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


@pytest.fixture(scope="session")
def seed() -> Iterator[subprocess.Popen[str]]:
    """Where commands are forked from: `tests/cli/seed.py`. Its screen is wide, so that no line of theirs is broken."""
    command = [sys.executable, "-m", "tests.cli.seed"]
    with subprocess.Popen(
        command, env=os.environ | {"COLUMNS": "300"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


@pytest.fixture
def paperround(
    environment: dict[str, str], seed: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The command line as a process of its own."""

    def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path_factory.mktemp("command")
        out, err = folder / "out", folder / "err"
        out.touch()
        err.touch()
        words = [str(each) for each in arguments]
        question = {
            "arguments": words,
            "environment": environment | more,
            "out": str(out),
            "err": str(err),
        }
        assert seed.stdin is not None
        assert seed.stdout is not None
        print(json.dumps(question), file=seed.stdin, flush=True)
        status = int(seed.stdout.readline())
        return subprocess.CompletedProcess(words, status, out.read_text("utf-8"), err.read_text("utf-8"))

    return run


@pytest.fixture
def say(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Say:
    """A command on the test's database, in this process: what it prints."""
    monkeypatch.setattr(door, "load", lambda: settings)
    # The tests that follow in this process keep their log.
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            assert isinstance(result.exception, USER_ERRORS), result.output
            return f"paperround: {result.exception}"
        assert result.exit_code != 2, result.output
        return result.output

    return run


def typed_on(used: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command has these settings, those that open the database by themselves too."""
    for module in (door, backups, processes, secret):
        monkeypatch.setattr(module, "load", lambda: used)


@pytest.fixture
def typed(say: Say, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Say:
    """As :func:`say`, for all commands; sources that do not answer, and a mailbox without mail."""
    nowhere = {
        "imap_url": "imaps://nobody@127.0.0.1",
        "huggingface_url": "http://no-such-host.invalid",
        "arxiv_rss_url": "http://no-such-host.invalid",
    }
    typed_on(settings.model_copy(update=nowhere), monkeypatch)
    monkeypatch.setattr(imap, "read_mailbox", lambda *_: imap.MailboxReport())
    return say
