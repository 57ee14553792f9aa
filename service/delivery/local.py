"""Where the local mailbox listens: a port file in the data folder, believed only if the mailbox itself answers."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

PROBE_SECONDS = 1.0


def ident(home: Path) -> str:
    """What the mailbox of this data folder says in its greeting: no other program's port is mistaken for it."""
    return f"Paperround mailbox {hashlib.sha256(bytes(home.resolve())).hexdigest()[:16]}"


def announce(home: Path, port: int) -> None:
    """Write the port file, whole or not at all."""
    path = _port_file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    draft.write_text(f"{port}\n")
    draft.replace(path)


def withdraw(home: Path, port: int) -> None:
    """Remove the port file, unless another mailbox of this folder has written its own meanwhile."""
    if _announced(home) == port:
        with suppress(FileNotFoundError):
            _port_file(home).unlink()


def running_port(home: Path) -> int | None:
    """The port where this folder's mailbox answers now; None when it does not, whatever a dead process left behind."""
    port = _announced(home)
    if port is None:
        return None
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_SECONDS) as connection:
            connection.settimeout(PROBE_SECONDS)
            greeting = connection.makefile("rb").readline(512)
            connection.sendall(b"QUIT\r\n")
    except OSError:
        return None
    return port if greeting.startswith(b"220 ") and ident(home).encode() in greeting else None


def _port_file(home: Path) -> Path:
    return home / "run" / "mailbox.port"


def _announced(home: Path) -> int | None:
    try:
        port = int(_port_file(home).read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 65536 else None
