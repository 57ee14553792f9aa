"""The operators' word by command: topics, notes, one reader's story; and the keys to their own door."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sqlalchemy import select

from service.database import Database
from service.database.tables import AuditEvent, Passkey
from service.settings import Settings
from tests import factories
from tests.cli.conftest import Say

NOW = datetime.now(UTC)


def test_topics_notes_and_a_readers_story_by_command(say: Say, database: Database, settings: Settings) -> None:
    factories.reader(database, settings, "ada@example.org", topics=["surveys"])
    assert "followers: 1" in say("topics", "edit", "surveys", "--query", "title:survey")
    said = ("--name", "Moss", "--description", "All moss", "--group", "Plants")
    assert "Added moss" in say("topics", "add", "moss", *said, "--query", "moss")
    assert "(at character" in say("topics", "add", "lichen", *said, "--query", "lichen AND (")
    known = {each["slug"]: each["query"] for each in json.loads(say("topics", "--json"))}
    assert (known["surveys"], known["moss"], "lichen" in known) == ("title:survey", "moss", False)
    say("topics", "retire", "moss")
    assert "OR" in say("topics", "as-shipped", "surveys")
    assert "moss" not in say("topics")

    assert "everybody's next digest" in say("note", "save", "Read https://example.org/a.")
    assert "begin with https://" in say("note", "save", "Read http://example.org/a.")
    assert "needs both" in say("note", "save", "Hello", "--first", "2030-01-01")
    assert "in force" in say("note", "list")
    assert "carry it: 0" in say("note", "withdraw", "1")
    assert json.loads(say("note", "list", "--json"))[0]["withdrawn_at"] is not None

    with database.transaction() as session:
        acts = session.execute(
            select(AuditEvent.act, AuditEvent.subject, AuditEvent.operator_id).order_by(AuditEvent.id)
        )
        assert [tuple(row) for row in acts] == [
            ("topic edited", "topic surveys", None),
            ("topic added", "topic moss", None),
            ("topic retired", "topic moss", None),
            ("topic as shipped", "topic surveys", None),
            ("note saved", "note 1", None),
            ("note withdrawn", "note 1", None),
        ]

    shown = say("readers", "show", "ada@example.org")
    assert "follows" in shown
    assert "entered" in shown
    assert json.loads(say("readers", "show", "ada@example.org", "--json"))["consent"][0]["kind"] == "entered"


def test_a_lost_devices_passkey_is_listed_and_taken_away_by_command(say: Say, database: Database) -> None:
    say("operators", "add", "olga@example.org", "--role", "owner")
    known = {"public_key": b"key", "sign_count": 0, "user_verified": True, "transports": [], "created_at": NOW}
    with database.transaction() as session:
        session.add_all(Passkey(operator_id=1, credential_id=name.encode(), name=name, **known) for name in ("a", "b"))
    assert "passkeys: 2" in say("operators", "list")
    assert [each["name"] for each in json.loads(say("operators", "passkeys", "olga@example.org", "--json"))] == [
        "a",
        "b",
    ]
    assert "never" in say("operators", "passkeys", "olga@example.org")
    assert "Passkeys that still open the door: 2" in say("operators", "reset-totp", "olga@example.org")
    assert "Removed" in say("operators", "remove-passkey", "olga@example.org", "1")
    assert "no passkey 1 of this operator" in say("operators", "remove-passkey", "olga@example.org", "1")
    assert "no operator has this address" in say("operators", "passkeys", "vera@example.org")
    say("operators", "remove-passkey", "olga@example.org", "2")
    assert "at the next sign-in" in say("operators", "list")
    with database.transaction() as session:
        lines = session.execute(select(AuditEvent.operator_id, AuditEvent.act, AuditEvent.subject)).all()
    assert [tuple(line) for line in lines][2:] == [(None, "passkey removed", f"passkey {each}") for each in (1, 2)]
