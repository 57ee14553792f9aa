"""The secrets of an embedded installation, in its data folder: ``secret`` signs, those in ``old-secrets`` only verify.

Both files are for their owner alone and written whole. A rotation first adds the secret of today to the old ones, then
replaces it: after a crash in between, the secret of today is listed as an old one, too, and nothing else has changed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_SECRET: Final = "secret"  # noqa: S105 (the name of a file, not a secret)
_OLD: Final = "old-secrets"


def new_secret() -> str:
    """As `openssl rand -hex 32` gives it: 256 bits."""
    return secrets.token_hex(32)


def current(home: Path) -> str:
    """The secret that signs, made on first use; two processes at once agree on one."""
    path = home / _SECRET
    home.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = _draft(home, new_secret())
        try:
            os.link(draft, path)  # never overwrites: whoever is first wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def older(home: Path) -> list[str]:
    """The others, oldest first."""
    try:
        return (home / _OLD).read_text().split()
    except FileNotFoundError:
        return []


def rotate(home: Path) -> None:
    """Make a new secret; today's verifies from now on."""
    today = current(home)
    keep(home, [*older(home), today])
    _replace(home, _SECRET, new_secret())


def keep(home: Path, others: Iterable[str]) -> None:
    """Let these be the old secrets, oldest first; one that is named twice counts where it stands last."""
    newest_first = dict.fromkeys(reversed([*others]))
    _replace(home, _OLD, "\n".join(reversed(newest_first)) + "\n")


def take_back(home: Path, secret: str, others: Iterable[str]) -> None:
    """Of a backup: its secrets are known again, and none that is here is forgotten.

    The backup's own signs, unless it has been replaced here since it was made: then it verifies.
    """
    here, known = (current(home) if (home / _SECRET).exists() else None), older(home)
    signs = here if here is not None and secret in known else secret
    others = [each for each in (*others, *known, secret, here) if each is not None and each != signs]
    if others:
        keep(home, others)
    if signs != here:
        _replace(home, _SECRET, signs)


def forget(home: Path) -> None:
    """Drop the old secrets."""
    (home / _OLD).unlink(missing_ok=True)


def _replace(home: Path, name: str, content: str) -> None:
    draft = _draft(home, content)
    draft.replace(home / name)
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the two steps reach the disk in their order
    finally:
        os.close(folder)


def _draft(home: Path, content: str) -> Path:
    draft = home / f".secret-{os.getpid()}-{secrets.token_hex(4)}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
