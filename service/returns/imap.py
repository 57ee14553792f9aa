"""Reading a mailbox in which returns arrive (IMAP, RFC 9051; MOVE where there is, RFC 6851).

For each mail, oldest first: fetch it without marking it, act on it in one transaction, then move it: what was acted on
or needs nothing to ``Paperround done``, what we do not understand to ``Paperround other`` for a person. A crash between
acting and moving leaves the mail where it was; it is read again, and its events are known by then.
"""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

import structlog
from imap_tools import BaseMailBox, MailBox, MailBoxUnencrypted
from imap_tools.errors import ImapToolsError

from service.database import Database
from service.returns.take import Outcome, TooMany, take_mail
from service.settings import Settings

log = structlog.get_logger(__name__)

SOURCE: Final = "imap"
DONE: Final = "Paperround done"
OTHER: Final = "Paperround other"
MOST_MAILS: Final = 500
"""Read in one go; the schedule comes again."""
TIMEOUT_SECONDS: Final = 30.0


class MailboxError(Exception):
    """The mailbox cannot be read. One line with the remedy."""


@dataclass(frozen=True, slots=True)
class MailboxReport:
    """What one reading found, in mails."""

    taken: int = 0
    ignored: int = 0
    unknown: int = 0
    left: int = 0
    """Not moved: to be read again."""


def read_mailbox(database: Database, settings: Settings) -> MailboxReport:
    """Read what has arrived; does nothing where no mailbox is set. Any number may run at once.

    Certificates are checked against the system's, or those of the file that SSL_CERT_FILE names.

    Raises :class:`MailboxError`, and :class:`sqlalchemy.exc.SQLAlchemyError` when the database fails; mails not yet
    moved are read again.
    """
    if settings.imap_url is None:
        return MailboxReport()
    counts = dict.fromkeys(Outcome, 0)
    left = 0
    try:
        with _opened(settings.imap_url) as box:
            for folder in (DONE, OTHER):
                if not box.folder.exists(folder):
                    box.folder.create(folder)
            uids = sorted(box.uids("UNDELETED", charset=None), key=int)
            left = max(0, len(uids) - MOST_MAILS)
            for uid in uids[:MOST_MAILS]:
                content = _fetched(box, uid, settings.inbound_largest_bytes)
                if content is None:
                    continue
                try:
                    taken = take_mail(database, settings, content, source=SOURCE)
                except TooMany:
                    left += 1
                    continue
                box.move(uid, OTHER if taken.outcome is Outcome.UNKNOWN else DONE)
                counts[taken.outcome] += 1
                log.info("imap.mail", outcome=taken.outcome.value, why=taken.why)
    except (ImapToolsError, imaplib.IMAP4.error, OSError) as error:
        host = urlsplit(settings.imap_url).hostname
        raise MailboxError(
            f"the mailbox at {host} cannot be read ({_reason(error)}): check PAPERROUND_IMAP_URL"
        ) from error
    return MailboxReport(counts[Outcome.TAKEN], counts[Outcome.IGNORED], counts[Outcome.UNKNOWN], left)


@contextmanager
def _opened(imap_url: str) -> Iterator[BaseMailBox]:
    url = urlsplit(imap_url)
    host = url.hostname or ""
    box: BaseMailBox
    if url.scheme == "imaps":
        context = ssl.create_default_context()
        box = MailBox(host, url.port or 993, timeout=TIMEOUT_SECONDS, ssl_context=context)
    else:
        box = MailBoxUnencrypted(host, url.port or 143, timeout=TIMEOUT_SECONDS)
    try:
        folder = unquote(url.path.strip("/")) or "INBOX"
        box.login(unquote(url.username or ""), unquote(url.password or ""), initial_folder=folder)
        yield box
    finally:
        with suppress(ImapToolsError, imaplib.IMAP4.error, OSError):
            box.logout()


def _fetched(box: BaseMailBox, uid: str, largest: int) -> bytes | None:
    """A mail's bytes, not marked as read; a little more than the largest where it is larger, None where it has gone.

    Not by ``box.fetch``, which parses as it reads: there one hostile mail would stop all behind it.
    """
    status, data = box.client.uid("FETCH", uid, f"(BODY.PEEK[]<0.{largest + 1}>)")
    if status != "OK":
        raise imaplib.IMAP4.error(f"FETCH answered {status}")
    return next((bytes(part[1]) for part in data if isinstance(part, tuple)), None)


def _reason(error: Exception) -> str:
    # The server's words may repeat the login.
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
