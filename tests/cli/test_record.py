"""Whatever a command changes leaves a line in the audit log."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from sqlalchemy import select

from service.cli.app import app
from service.database import Database
from service.database.tables import AuditEvent, Passkey
from service.operators import audit
from service.operators.audit import Act
from service.settings import Settings
from service.subscribers import addresses
from service.subscribers.topics import catalogue
from tests.cli.conftest import Say

PROCESSES = {"up", "web", "worker", "beat", "inbound", "mailbox"}
LOOKS = {
    "coverage", "doctor", "preview", "readers list", "readers show", "suppressions list", "topics", "note list",
    "operators list", "operators passkeys", "secret status",
}  # fmt: skip
WITHOUT_A_DATABASE = {"dkim"}
OF_SECRETS = {"secret rotate", "secret reseal", "secret forget", "secret give-up"}
"""Recorded too: `test_secret.py`, where there are secrets to change."""
ACTS = {
    "ingest": [Act.PAPERS_TAKEN],
    "round": [Act.ROUND_BEGUN],
    "readers add": [Act.READER_ADDED],
    "readers remove": [Act.READER_REMOVED],
    "readers import": [Act.IMPORT_BEGUN, Act.READERS_IMPORTED],
    "readers export": [Act.READERS_EXPORTED],
    "suppressions add": [Act.ADDRESS_SUPPRESSED],
    "suppressions lift": [Act.SUPPRESSION_LIFTED],
    "topics add": [Act.TOPIC_ADDED],
    "topics edit": [Act.TOPIC_EDITED],
    "topics retire": [Act.TOPIC_RETIRED],
    "topics as-shipped": [Act.TOPIC_AS_SHIPPED],
    "note save": [Act.NOTE_SAVED],
    "note withdraw": [Act.NOTE_WITHDRAWN],
    "operators add": [Act.OPERATOR_ADDED],
    "operators role": [Act.ROLE_CHANGED],
    "operators remove": [Act.OPERATOR_REMOVED],
    "operators reset-totp": [Act.SECOND_FACTOR_RESET],
    "operators remove-passkey": [Act.PASSKEY_REMOVED],
    "operators sign-out": [Act.SIGNED_OUT],
    "operators link": [Act.LINK_PRINTED],
    "audit": [Act.LOG_EXPORTED],
    "read-returns": [Act.RETURNS_READ],
    "backup": [Act.BACKED_UP],
    "restore": [Act.RESTORED],
    "migrate": [Act.RIGHTS_GRANTED],
    "upgrade": [Act.RIGHTS_GRANTED],
}


def commands(below: typer.Typer = app, name: str = "") -> Iterator[str]:
    """Every command there is, as it is typed."""
    for command in below.registered_commands:
        assert command.callback is not None
        yield f"{name} {command.name or command.callback.__name__.replace('_', '-')}".strip()
    for group in below.registered_groups:
        assert group.typer_instance is not None
        whole = f"{name} {group.name}".strip()
        callback = group.typer_instance.registered_callback
        if callback is not None and callback.invoke_without_command:
            yield whole
        yield from commands(group.typer_instance, whole)


def test_every_command_looks_runs_or_acts() -> None:
    kinds = (PROCESSES, LOOKS, WITHOUT_A_DATABASE, OF_SECRETS, set(ACTS))
    assert sorted(commands()) == sorted(name for kind in kinds for name in kind)


def test_whatever_acts_is_recorded(typed: Say, database: Database, tmp_path: Path) -> None:
    catalogue.sync(database)
    papers, readers, kept = tmp_path / "papers.jsonl", tmp_path / "list.csv", tmp_path / "house.backup"
    papers.write_text('{"title": "Walking Robots", "id": "2601.00001"}')
    readers.write_text("email\nbob@example.org\nnobody\n")
    ada, olga = "ada@example.org", "olga@example.org"
    moss = ("--name", "Moss", "--description", "All moss", "--group", "Plants", "--query", "moss")
    steps: list[tuple[str, *tuple[str | Path, ...]]] = [
        ("ingest", "--file", papers),
        ("round", "--now"),
        ("readers add", ada, "--query", "robots", "--confirmed"),
        ("suppressions add", ada, "--detail", "asked by telephone"),
        ("suppressions lift", ada),
        ("readers remove", ada, "--yes"),
        ("readers import", readers, "--consent", "Signed up at the library desk"),
        ("readers export", tmp_path / "out.csv"),
        ("topics add", "moss", *moss),
        ("topics edit", "moss", "--query", "mosses"),
        ("topics retire", "moss"),
        ("topics edit", "surveys", "--query", "survey"),
        ("topics as-shipped", "surveys"),
        ("note save", "Hello"),
        ("note withdraw", "1"),
        ("operators add", olga, "--role", "viewer"),
        ("operators role", olga, "--role", "editor"),
        ("operators link", olga),
        ("operators reset-totp", olga),
        ("operators remove-passkey", olga, "1"),
        ("operators sign-out", olga),
        ("operators remove", olga),
        ("audit", tmp_path / "log.csv", "--format", "csv"),
        ("read-returns",),
        ("migrate", "--grant"),
        ("upgrade", "--grant"),
        ("backup", kept),
        ("restore", kept, "--replace"),
    ]
    recorded: dict[str, list[str]] = {}
    lines: list[AuditEvent] = []
    for name, *more in steps:
        before = lines
        if name == "operators remove-passkey":
            known = {"public_key": b"key", "sign_count": 0, "user_verified": True, "transports": []}
            with database.transaction() as session:
                now = datetime.now(UTC)
                session.add(Passkey(operator_id=1, credential_id=b"a", name="a", created_at=now, **known))
        database.engine.dispose()  # a restore wants to be alone
        said = typed(*name.split(), *map(str, more))
        assert not said.startswith("paperround:"), (name, said)
        with database.transaction() as session:
            lines = list(session.scalars(select(AuditEvent).order_by(AuditEvent.id)))
        # A backup does not hold its own line, so a restore takes that one back.
        new = lines[len(before) - (name == "restore") :]
        recorded[name] = [line.act for line in new]
        assert all(line.operator_id is None for line in new)
        assert not any("@" in line.subject + line.detail for line in new), name
    assert recorded == ACTS

    told = {line.act: line for line in lines}
    assert told[Act.ADDRESS_SUPPRESSED].subject == told[Act.READER_REMOVED].subject == "reader 1"
    assert told[Act.ADDRESS_SUPPRESSED].detail == "asked by telephone"
    assert told[Act.IMPORT_BEGUN].detail == "consent: Signed up at the library desk"
    assert told[Act.READERS_IMPORTED].detail.startswith("1 readers from 2 rows")
    assert told[Act.RESTORED].detail.startswith("as of 20")


def test_what_was_only_tried_or_refused_is_not_recorded(typed: Say, database: Database, tmp_path: Path) -> None:
    readers = tmp_path / "list.csv"
    readers.write_text("email\nbob@example.org\n")
    typed("readers", "import", str(readers), "--consent", "Signed up at the library desk", "--dry-run")
    assert "nothing to lift" in typed("suppressions", "lift", "bob@example.org")
    assert "is there already" in typed("backup", str(readers))
    assert "cannot be written" in typed("readers", "export", str(tmp_path / "no folder" / "out.csv"))
    typed("migrate")
    with database.transaction() as session:
        assert session.scalars(select(AuditEvent.act)).all() == []


def test_an_address_without_a_reader_is_named_by_its_hash(typed: Say, database: Database, settings: Settings) -> None:
    typed("suppressions", "add", "eve@example.org")
    with database.transaction() as session:
        (line,) = session.scalars(select(AuditEvent))
    assert line.subject == f"address {addresses.hashed(settings, 'eve@example.org').hex()[:16]}"
    assert line.subject.removeprefix("address ") in typed("suppressions", "list")


def test_the_log_is_written_out_whole_and_by_days(typed: Say, database: Database, tmp_path: Path) -> None:
    typed("operators", "add", "olga@example.org", "--role", "owner")
    typed("note", "save", 'Hello, "all" of you')
    with database.transaction() as session:
        audit.record(session, 1, Act.SIGNED_IN, "session 1")
        audit.record(session, 9, Act.SIGNED_IN, "session 2")
    told = [json.loads(line) for line in typed("audit").splitlines()]
    assert [(each["operator"], each["address"], each["act"]) for each in told] == [
        (None, None, "operator added"),
        (None, None, "note saved"),
        (1, "olga@example.org", "signed in"),
        (9, None, "signed in"),
    ]
    kept = tmp_path / "log.csv"
    assert "5 lines are in" in typed("audit", str(kept), "--format", "csv")
    assert kept.stat().st_mode & 0o077 == 0
    with kept.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["act"] for row in rows] == [*(each["act"] for each in told), "log exported"]
    assert 'Hello, "all" of you' in rows[1]["detail"]
    today = datetime.now(UTC).date()
    assert len(typed("audit", "--first", str(today), "--last", str(today)).splitlines()) == 6
    assert typed("audit", "--last", str(today - timedelta(days=1))) == ""
