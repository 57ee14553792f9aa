"""Mail kept on disk as a Maildir: a file a message, whole or not there, safe with any number of writers and readers."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from email.policy import default
from pathlib import Path

_KEY = re.compile(r"[0-9]{20}\.[0-9]+_[0-9]+\.[0-9a-f]{8}")
_HEADER_BYTES = 32 * 1024
"""What is read of a file for a listing; our own headers take 2 KB."""
_DRAFT_SECONDS = 36 * 3600
"""A draft older than this was left by a writer that died (maildir(5))."""


class MailNotFoundError(LookupError):
    """No mail has this key. One line."""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A line of the listing."""

    key: str
    received_at: datetime
    sender: str
    """The From of the header; where there is none, the envelope's sender."""
    recipient: str
    """The envelope's recipient."""
    subject: str


@dataclass(frozen=True, slots=True)
class OpenedMail:
    """One mail, read to its end."""

    mail: StoredMail
    headers: tuple[tuple[str, str], ...]
    """In the order of the file, decoded; without the two the mailbox added."""
    text: str
    """The plain part; empty where there is none."""
    html: str | None
    source: bytes
    """As it was received."""


class Maildir:
    """The mail in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count()

    def prepare(self) -> None:
        """Make the folders and clear away what dead writers left."""
        for name in ("tmp", "new", "cur"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for draft in (self._folder / "tmp").iterdir():
            with suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                    draft.unlink()

    def store(self, sender: str, recipient: str, content: bytes) -> str:
        """Keep a mail and return its key. Once this returns, the mail outlives this process, however that ends."""
        key = f"{time.time_ns():020}.{os.getpid()}_{next(self._count)}.{secrets.token_hex(4)}"
        envelope = f"Return-Path: <{_one_line(sender)}>\r\nDelivered-To: {_one_line(recipient)}\r\n"
        draft = self._folder / "tmp" / key
        with draft.open("xb") as file:
            file.write(envelope.encode("utf-8", "surrogateescape") + content)
        draft.rename(self._folder / "new" / key)
        return key

    def keys(self) -> list[str]:
        """Every mail's key, newest first."""
        found: list[str] = []
        for name in ("new", "cur"):
            with suppress(FileNotFoundError), os.scandir(self._folder / name) as entries:
                # Other Maildir programs move mail to cur and add flags behind a colon.
                found.extend(key for entry in entries if _KEY.fullmatch(key := entry.name.partition(":")[0]))
        return sorted(found, reverse=True)

    def listing(self, limit: int, offset: int = 0) -> list[StoredMail]:
        """Newest first. Reads headers only, and only of the mails listed."""
        return list(self._listed(self.keys()[offset : offset + limit]))

    def open(self, key: str) -> OpenedMail:
        """Read one mail to its end. Raises :class:`MailNotFoundError`."""
        path = self._path(key)
        if path is None:
            raise MailNotFoundError(f"no mail {key!r} in the mailbox: it may have been deleted")
        stored = path.read_bytes()
        message: EmailMessage = BytesParser(policy=default).parsebytes(stored)
        _, _, source = stored.split(b"\r\n", 2)
        headers = [(name, str(value)) for name, value in message.items()]
        return OpenedMail(
            mail=_line(key, message),
            headers=tuple(headers[2:]),
            text=_part(message, "plain") or "",
            html=_part(message, "html"),
            source=source,
        )

    def clear(self) -> int:
        """Delete every mail; how many there were."""
        deleted = 0
        for key in self.keys():
            if (path := self._path(key)) is not None:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted

    def _listed(self, keys: list[str]) -> Iterator[StoredMail]:
        parser = BytesHeaderParser(policy=default)
        for key in keys:
            path = self._path(key)
            if path is None:
                continue  # deleted meanwhile
            with suppress(FileNotFoundError), path.open("rb") as file:
                head = file.read(_HEADER_BYTES).partition(b"\r\n\r\n")[0]
                yield _line(key, parser.parsebytes(head + b"\r\n\r\n"))

    def _path(self, key: str) -> Path | None:
        if not _KEY.fullmatch(key):
            return None
        fresh = self._folder / "new" / key
        if fresh.exists():
            return fresh
        return next((self._folder / "cur").glob(f"{key}*"), None)


def _line(key: str, message: EmailMessage) -> StoredMail:
    nanoseconds = int(key.partition(".")[0])
    return StoredMail(
        key=key,
        received_at=datetime.fromtimestamp(nanoseconds / 1e9, UTC),
        sender=str(message["From"] or message["Return-Path"] or ""),
        recipient=str(message["Delivered-To"] or ""),
        subject=str(message["Subject"] or ""),
    )


def _part(message: EmailMessage, kind: str) -> str | None:
    body = message.get_body((kind,))
    if body is None:
        return None
    content = body.get_content()
    return content if isinstance(content, str) else None


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", "", text)
