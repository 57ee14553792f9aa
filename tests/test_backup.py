"""Everything to a file, and back."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text

from service import backup, rounds, secret_files
from service.backup import BackupError
from service.database import Database, months
from service.database.embedded import EmbeddedPostgres
from service.database.tables import Delivery, Digest, Reader
from service.delivery import sender
from service.digests import plan
from service.outbox import rows
from service.papers import ingest
from service.readiness import open_ready, prepare
from service.settings import Settings
from service.subscribers import hash_key
from tests import factories
from tests.delivery.servers import sink


@pytest.fixture
def backed_up(database: Database, settings: Settings, tmp_path: Path) -> Path:
    """A house with two readers who were planned and one round of digests, in a file."""
    factories.reader(database, settings, "ada@example.org", queries=["robots"])
    factories.reader(database, settings, "bob@example.org", queries=["robots"])
    factories.edition(database, factories.record("Walking Robots"))
    assert plan.plan_due(database, settings, everyone=True).digests == 2
    path = tmp_path / "house.backup"
    manifest = backup.backup(database, settings, path)
    assert (manifest.readers, manifest.deliveries) == (2, 2)
    return path


def _count(database: Database, table: type) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_after_wipe_and_restore_nobody_is_planned_what_they_had(
    database: Database, settings: Settings, backed_up: Path
) -> None:
    assert backed_up.stat().st_mode & 0o077 == 0
    with database.connection() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    prepare(database)

    backup.restore(database, settings, backed_up)

    assert plan.plan_due(database, settings, everyone=True).digests == 0
    assert _count(database, Digest) == _count(database, Delivery) == 2
    # The schema works on, counters and all.
    factories.edition(database, factories.record("Swimming Robots"))
    assert plan.plan_due(database, settings, everyone=True).digests == 2


def test_a_round_goes_on_after_backup_wipe_and_restore_and_nobody_is_mailed_twice(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    readers = [f"r{number}@example.org" for number in range(6)]
    for each in readers:
        factories.reader(database, settings, each, queries=["robots"])
    factories.edition(database, factories.record("Walking Robots"))
    with sink() as server:
        used = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"})
        plan.plan_due(database, used, everyone=True)
        with database.connection() as connection:
            connection.execute(text("UPDATE delivery SET due_at = now() + interval '1 hour' WHERE id % 2 = 0"))
        assert sender.send_due(database, used).sent == 3
        with database.connection() as connection:
            connection.execute(text("UPDATE delivery SET due_at = now() - interval '1 hour' WHERE id % 2 = 0"))

        backup.backup(database, used, tmp_path / "house.backup")
        with database.connection() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
        prepare(database)
        backup.restore(database, used, tmp_path / "house.backup")

        assert rounds.run(database, used).sent == 0, "nothing is planned anew; what waited is of the earlier slot"
        assert sorted(server.recipients) == readers
        factories.edition(database, factories.record("Talking Robots"))
        assert rounds.run(database, used, everyone=True).sent == 6
        assert sorted(server.recipients) == sorted(readers * 2)
        subjects = Counter((to, content.count(b"Walking Robots") > 0) for to, content in server.accepted)
    assert set(subjects.values()) == {1}, "each reader has each paper in one mail"


def test_a_backup_of_long_ago_is_given_the_months_of_today(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    made = months.month_of(datetime(2026, 1, 1, tzinfo=UTC))
    months.make(database, [made])
    with database.connection() as connection:
        for each in months.held(connection):
            if each.end != made + 1:
                connection.execute(text(f"DROP TABLE delivery_{each.name}, digest_{each.name}"))
    backup.backup(database, settings, tmp_path / "old.backup")

    backup.restore(database, settings, tmp_path / "old.backup", replace=True)

    with database.connection() as connection:
        this = months.month_of(datetime.now(UTC))
        assert {each.end - 1 for each in months.held(connection)} == {made, this, this + 1, this + 2}


def test_what_was_sent_after_the_backup_can_be_taken_for_delivered(
    database: Database, settings: Settings, backed_up: Path
) -> None:
    backup.restore(database, settings, backed_up, replace=True)
    ingest.ingest(database, factories.Listed(factories.record("Flying Robots")), factories.TODAY)

    assert backup.assume_delivered(database) == 2

    assert plan.plan_due(database, settings, everyone=True).digests == 0
    with database.transaction() as session:
        assert rows.counts(session) == {"cancelled": 2}


def test_readers_are_not_given_up_unasked(database: Database, settings: Settings, backed_up: Path) -> None:
    factories.reader(database, settings, "eve@example.org", queries=["robots"])

    with pytest.raises(BackupError, match="holds 3 readers: --replace"):
        backup.restore(database, settings, backed_up)

    assert _count(database, Reader) == 3


def test_a_house_in_use_is_not_replaced(database: Database, settings: Settings, backed_up: Path) -> None:
    with Database(settings.database_url or "") as other, other.connection() as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(BackupError, match="1 other connections use the database"):
            backup.restore(database, settings, backed_up, replace=True)


def test_another_secret_is_told(database: Database, settings: Settings, backed_up: Path) -> None:
    other = Settings(
        home=settings.home,
        database_url=settings.database_url,
        secret=SecretStr("quite-another-secret-0123456789-0123456789"),
    )

    with pytest.raises(BackupError, match="made with another PAPERROUND_SECRET"):
        backup.restore(database, other, backed_up)


def test_the_secrets_of_an_embedded_house_come_back(home: Path, tmp_path: Path) -> None:
    secret_files.rotate(home)
    settings = Settings(home=home)
    path = tmp_path / "house.backup"
    with open_ready(settings) as database:
        before = settings.verifying_keys
        backup.backup(database, settings, path)
        (home / "secret").unlink()
        (home / "old-secrets").unlink()

        backup.restore(database, settings, path)

        again = Settings(home=home)
        hash_key.bind(database, again)
    assert again.verifying_keys == before
    assert len(before) == 2
    assert again.address_hash_key == settings.address_hash_key
    assert {path.stat().st_mode & 0o077 for path in (home / "secret", home / "old-secrets")} == {0}
    assert not EmbeddedPostgres(home / "postgres").running()


def _rewritten(path: Path, member: str, content: bytes) -> Path:
    changed = path.with_name(f"{len(content)}.backup")
    with tarfile.open(path) as whole, tarfile.open(changed, "w") as part:
        for each in whole.getmembers():
            file = whole.extractfile(each)
            assert file is not None
            kept = content if each.name == member else file.read()
            each.size = len(kept)
            part.addfile(each, io.BytesIO(kept))
    return changed


def test_a_restore_that_breaks_off_changes_nothing(database: Database, settings: Settings, backed_up: Path) -> None:
    with tarfile.open(backed_up) as tar:
        member = tar.extractfile("database.sql.gz")
        assert member is not None
        sql = gzip.decompress(member.read())
    damaged = _rewritten(backed_up, "database.sql.gz", gzip.compress(sql + b"\nSELECT nothing FROM nowhere;\n"))

    with pytest.raises(BackupError, match=r"psql failed: .*nowhere"):
        backup.restore(database, settings, damaged, replace=True)

    assert _count(database, Reader) == _count(database, Digest) == 2


def test_what_is_no_backup_is_refused(settings: Settings, database: Database, tmp_path: Path, backed_up: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("this is no tar file")
    newer = _rewritten(backed_up, "manifest.json", b'{"format": 1, "version": "9.0", "schema": "9999", "made_at": "",'
                       b' "secret_check": "", "readers": 0, "deliveries": 0}')  # fmt: skip
    for path, said in (
        (tmp_path / "none", "No such file"),
        (nonsense, "it is no tar file"),
        (newer, "newer than this"),
        (_rewritten(backed_up, "manifest.json", b"[]"), "is not a backup"),
    ):
        with pytest.raises(BackupError, match=said):
            backup.restore(database, settings, path, replace=True)
    with pytest.raises(BackupError, match="is there already"):
        backup.backup(database, settings, backed_up)
