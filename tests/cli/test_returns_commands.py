"""What the operator sees and does about addresses that must not be mailed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import app
from service.cli.door import USER_ERRORS
from service.database import Database
from service.database.tables import ReturnKind
from service.settings import Settings, SettingsError, load
from service.subscribers import returned
from service.subscribers.returned import Return
from tests import factories


@pytest.fixture
def operator(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Commands in this process, on the test database: a process each would take the suite half a minute."""
    assert settings.secret is not None
    assert settings.database_url is not None
    monkeypatch.setenv("PAPERROUND_HOME", str(settings.home))
    monkeypatch.setenv("PAPERROUND_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("PAPERROUND_SECRET", settings.secret.get_secret_value())
    monkeypatch.setenv("PAPERROUND_SMTP_URL", "smtp://127.0.0.1:9")
    return CliRunner()


def done(result: Result) -> str:
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_suppressions_are_added_seen_and_lifted(operator: CliRunner, database: Database, settings: Settings) -> None:
    factories.reader(database, settings, "ada@example.org", queries=["robots"])
    done(operator.invoke(app, ["suppressions", "add", "ADA@example.org", "--detail", "asked by letter"]))
    (listed,) = json.loads(done(operator.invoke(app, ["suppressions", "list", "--json"])))
    assert (listed["reason"], listed["detail"]) == ("operator", "asked by letter")
    assert "ada" not in json.dumps(listed)
    assert json.loads(done(operator.invoke(app, ["suppressions", "list", "bob@example.org", "--json"]))) == []
    assert "1 shown of 1 (1 operator)" in done(operator.invoke(app, ["suppressions", "list", "ada@example.org"]))
    shown = json.loads(done(operator.invoke(app, ["readers", "show", "ada@example.org", "--json"])))
    assert (shown["state"], shown["suppressed"], shown["returns"]) == ("unsubscribed", "operator", [])
    done(operator.invoke(app, ["suppressions", "lift", "ada@example.org"]))
    for arguments in (["lift", "ada@example.org"], ["lift", "nobody"], ["add", "nobody"]):
        refused = operator.invoke(app, ["suppressions", *arguments]).exception
        assert isinstance(refused, USER_ERRORS)
        assert "\n" not in str(refused)


def test_a_reader_is_shown_with_what_came_back(operator: CliRunner, database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    said = "smtp; 550 5.1.1 <ada@example.org> [red]unknown[/red]"
    event = Return(ReturnKind.HARD_BOUNCE, "imap", "1", reader_id=reader, code="5.1.1", diagnostic=said)
    with database.transaction() as session:
        returned.take(session, settings, event)
    shown = json.loads(done(operator.invoke(app, ["readers", "show", "ada@example.org", "--json"])))
    assert [(each["kind"], each["code"], each["source"]) for each in shown["returns"]] == [
        ("hard bounce", "5.1.1", "imap")
    ]
    text = done(operator.invoke(app, ["readers", "show", "ada@example.org"]))
    assert "Suppressed since" in text
    assert "5.1.1" in text


def test_a_mailbox_that_cannot_be_read_is_one_line_without_its_password(
    operator: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "PAPERROUND_IMAP_URL is missing" in str(operator.invoke(app, ["read-returns"]).exception)
    monkeypatch.setenv("PAPERROUND_IMAP_URL", "imaps://user:secret-word@127.0.0.1:1/INBOX")
    refused = operator.invoke(app, ["read-returns"]).exception
    assert isinstance(refused, USER_ERRORS)
    assert "check PAPERROUND_IMAP_URL" in str(refused)
    assert "secret-word" not in str(refused)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IMAP_URL", "imap://user:secret-word@mail.example.org", "use imaps://"),
        ("IMAP_URL", "imaps://mail.example.org", "must look like imaps://"),
        ("RETURN_DOMAIN", "b@returns.example", "must be a domain"),
        ("POSTMARK_HOOK_LOGIN", "secret-word", "must look like user:password"),
    ],
)
def test_settings_that_cannot_work_are_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"PAPERROUND_{name}", value)
    with pytest.raises(SettingsError, match=f"PAPERROUND_{name} is not usable: .*{said}") as raised:
        load()
    assert "secret-word" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_the_listener_says_what_it_lacks_and_ends_when_told(
    environment: dict[str, str], migrated_url: str, settings: Settings
) -> None:
    production = environment | {
        "PAPERROUND_DATABASE_URL": migrated_url,
        "PAPERROUND_SECRET": settings.signing_key,
        "PAPERROUND_SMTP_URL": "smtp://127.0.0.1:9",
        "PAPERROUND_RETURN_DOMAIN": "returns.papers.example",
    }
    command = [sys.executable, "-m", "service.cli", "inbound"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        production["PAPERROUND_INBOUND_PORT"] = str(taken.getsockname()[1])
        refused = subprocess.run(command, env=production, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2, refused.stderr
    assert "set PAPERROUND_INBOUND_PORT" in refused.stderr.splitlines()[-1]
    with subprocess.Popen(command, env=production, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "inbound.ready" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
