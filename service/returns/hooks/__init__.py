"""Calls of mail providers: verified, read, and turned into the same events as mail that comes back.

What a provider calls a hard bounce is one to us only where its codes do not say otherwise: a full mailbox and a refused
message are reported by some as bounces, too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import structlog

from service.database import Database
from service.papers.fetching import Fetcher
from service.returns.hooks import mailgun, postmark, sendgrid, ses
from service.returns.hooks.call import Call, ForgedCall, HookError, MalformedCall, Provider
from service.settings import Settings
from service.subscribers import returned

__all__ = ["PROVIDERS", "Call", "ForgedCall", "HookError", "MalformedCall", "active", "take_call"]

log = structlog.get_logger(__name__)

PROVIDERS: Final = MappingProxyType[str, Provider](
    {"ses": ses.Ses(), "postmark": postmark.Postmark(), "sendgrid": sendgrid.SendGrid(), "mailgun": mailgun.Mailgun()}
)


def active(settings: Settings) -> list[str]:
    """Providers whose calls are taken."""
    return [name for name, provider in PROVIDERS.items() if provider.configured(settings)]


def take_call(database: Database, settings: Settings, name: str, call: Call, *, fetcher: Fetcher | None = None) -> int:
    """Act on a call of a configured provider; how many events in it were about somebody that we know and new.

    Each event is one transaction, with the provider's own id for its key: a call that is repeated, by a provider that
    heard no answer or by somebody who saw it, changes nothing more. Killed between two, the provider calls again.

    Raises :class:`ForgedCall` and :class:`MalformedCall`; then nothing has changed.
    """
    events = PROVIDERS[name].read(call, settings, fetcher or Fetcher(settings), datetime.now(UTC))
    taken = 0
    for event in events:
        with database.transaction() as session:
            outcome = returned.take(session, settings, event)
        taken += outcome not in (returned.Taken.STRANGER, returned.Taken.KNOWN)
    log.info("hooks.taken", provider=name, events=len(events), new=taken)
    return taken
