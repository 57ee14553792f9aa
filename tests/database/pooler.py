"""A real PgBouncer in transaction mode on a free port, before the database of a URL."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

KNOWS_PREPARED: Final = (1, 21)
"""Since then PgBouncer follows the protocol's prepared statements from one connection to another."""
_CONFIGURATION: Final = """\
[databases]
paperround = host={host} port={port} dbname={name} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
server_reset_query_always = 0
{prepared}
"""


@dataclass(frozen=True)
class Pooler:
    url: str
    prepared: bool
    """Whether statements may be prepared through it."""
    version: tuple[int, int]


def program() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@contextmanager
def pooler(command: str, database_url: str, *, pool_size: int) -> Iterator[Pooler]:
    """Run ``command`` before a database that is reached by a socket."""
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told)
    assert found is not None, told
    version = int(found[1]), int(found[2])
    prepared = version >= KNOWS_PREPARED
    behind = make_url(database_url)
    sockets = Path(str(behind.query["host"]))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="paperround-pooler-"))
    folder.chmod(0o755)
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(
            host=sockets,
            port=behind.query.get("port", 5432),
            name=behind.database,
            user=behind.username,
            listen=listen,
            pool_size=pool_size,
            prepared="max_prepared_statements = 200" if prepared else "",
        )
    )
    # It refuses to be root, and the socket is open to its owner.
    owner = sockets.owner()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([command, "-u", owner, str(configuration)], stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + 5
            with socket.socket() as probe:
                while probe.connect_ex(("127.0.0.1", listen)):
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, "PgBouncer does not listen"
                    time.sleep(0.02)
            yield Pooler(f"postgresql://postgres@127.0.0.1:{listen}/paperround", prepared, version)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder)
