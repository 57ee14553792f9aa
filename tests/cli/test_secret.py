"""`paperround secret`, and processes whose secret is not the database's."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from service.database import Database
from service.database.tables import AuditEvent
from service.readiness import open_ready
from service.settings import Settings
from service.subscribers import addresses, suppression
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("database")
NEW = "a-new-secret-that-only-the-tests-know-012345"


def test_every_process_refuses_a_secret_that_is_not_the_databases(settings: Settings, paperround: Run) -> None:
    open_ready(settings).close()
    held = {
        "PAPERROUND_DATABASE_URL": settings.database_url or "",
        "PAPERROUND_SECRET": NEW,
        "PAPERROUND_SMTP_URL": "smtp://127.0.0.1:9",
    }
    for words in (("web",), ("worker",), ("inbound",), ("round",), ("migrate",)):
        ended = paperround(*words, **held)
        assert ended.returncode == 2, words
        assert "is not this database's" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_giving_up_wants_a_word_and_a_loss(database: Database, settings: Settings, paperround: Run) -> None:
    open_ready(settings).close()
    held = {"PAPERROUND_DATABASE_URL": settings.database_url or "", "PAPERROUND_SMTP_URL": "smtp://127.0.0.1:9"}
    fits = paperround("secret", "give-up", "--yes", **held, PAPERROUND_SECRET=settings.signing_key)
    assert "nothing needs to be given up" in fits.stdout
    assert paperround("secret", "give-up", **held, PAPERROUND_SECRET=NEW).returncode == 2
    assert paperround("secret", "give-up", "--yes", **held, PAPERROUND_SECRET=NEW).returncode == 0
    assert paperround("secret", "status", **held, PAPERROUND_SECRET=NEW).returncode == 0
    with database.transaction() as session:
        assert session.scalars(select(AuditEvent.act)).all() == ["key of hashes given up"]


def test_secrets_are_printed_only_if_made_and_asked_for(settings: Settings, paperround: Run) -> None:
    held = {
        "PAPERROUND_DATABASE_URL": settings.database_url or "",
        "PAPERROUND_SMTP_URL": "smtp://127.0.0.1:9",
        "PAPERROUND_SECRET": NEW,
        "PAPERROUND_OLD_SECRETS": settings.signing_key,
    }
    told = [paperround("secret", *words, **held) for words in (["rotate"], ["status"], ["reseal"], ["forget"])]
    assert [each.returncode for each in told] == [0, 0, 0, 0], told
    printed = "".join(each.stdout + each.stderr for each in told)
    assert "PAPERROUND_OLD_SECRETS" in told[0].stdout
    assert "can be taken away" in told[3].stdout
    assert NEW not in printed
    assert settings.signing_key not in printed
    made = [paperround("secret", "rotate", "--generate").stdout.strip() for _ in range(2)]
    assert len(set(made)) == 2
    assert min(map(len, made)) == 64


@pytest.mark.usefixtures("standing")
def test_on_one_machine_a_secret_is_changed_and_dropped_and_who_is_suppressed_stays_so(
    home: Path, paperround: Run
) -> None:
    assert paperround("readers", "add", "ada@example.org", "--query", "robots").returncode == 0
    assert paperround("suppressions", "add", "ada@example.org").returncode == 0
    first = Settings(home=home).signing_key
    assert "Restart every process" in paperround("secret", "rotate").stdout
    assert Settings(home=home).signing_key != first
    refused = paperround("secret", "forget")
    assert (refused.returncode, "run `paperround secret reseal` first" in refused.stderr) == (2, True)
    assert "the key of suppressions" in paperround("secret", "reseal").stdout
    assert paperround("secret", "forget").returncode == 0
    settings = Settings(home=home)
    assert settings.verifying_keys == (settings.signing_key,)
    with open_ready(settings) as database, database.transaction() as session:
        assert suppression.contains(session, addresses.hashed(settings, "ada@example.org"))
        acts = session.scalars(select(AuditEvent.act).order_by(AuditEvent.id)).all()
    assert list(acts)[-3:] == ["secret rotated", "sealed under the new secret", "old secrets dropped"]
