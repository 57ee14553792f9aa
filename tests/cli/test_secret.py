"""`paperround secret`, and processes whose secret is not the database's."""

from __future__ import annotations

import pytest

from service.readiness import open_ready
from service.settings import Settings
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
    for words in (("web",), ("worker",), ("inbound",), ("round",), ("backup", "x.backup"), ("migrate",)):
        ended = paperround(*words, **held)
        assert ended.returncode == 2, words
        assert "is not this database's" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_giving_up_wants_a_word_and_a_loss(settings: Settings, paperround: Run) -> None:
    open_ready(settings).close()
    held = {"PAPERROUND_DATABASE_URL": settings.database_url or "", "PAPERROUND_SMTP_URL": "smtp://127.0.0.1:9"}
    fits = paperround("secret", "give-up", "--yes", **held, PAPERROUND_SECRET=settings.signing_key)
    assert "nothing needs to be given up" in fits.stdout
    assert paperround("secret", "give-up", **held, PAPERROUND_SECRET=NEW).returncode == 2
    assert paperround("secret", "give-up", "--yes", **held, PAPERROUND_SECRET=NEW).returncode == 0
    assert paperround("secret", "status", **held, PAPERROUND_SECRET=NEW).returncode == 0


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
