"""Whether the relays take us: connection, greeting, encryption, login, and goodbye. No mail is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from service.delivery import relay
from service.delivery.handshake import Timeouts, name_of, open_wire
from service.delivery.relay import Relay
from service.delivery.throttle import DomainRates
from service.doctor.findings import Finding, Verdict
from service.settings import Settings, SettingsError

_TIMEOUTS: Final = Timeouts(connect=5.0, command=10.0)


def relays(settings: Settings) -> Iterator[Finding]:
    """Open a connection to each relay as the sender does, and close it before the first MAIL."""
    running = "it runs while `paperround up` does"
    remedy = running if settings.embedded and settings.smtp_url is None else "check PAPERROUND_SMTP_URL"
    try:
        targets = relay.configured(settings)
        DomainRates.configured(settings)
    except (relay.RelayDown, SettingsError) as error:
        yield Finding("relay", Verdict.WARNING, f"{error}: {remedy}; mail waits in the outbox")
        return
    for target in targets:
        try:
            yield asyncio.run(_tried(target, name_of(settings.mail_domain)))
        except relay.RelayDown as error:
            yield Finding("relay", Verdict.WARNING, f"{error}; mail waits in the outbox")


async def _tried(target: Relay, our_name: str) -> Finding:
    """EHLO, STARTTLS with the certificate verified, AUTH, QUIT. Raises RelayDown, whose line has the remedy."""
    wire, _ = await open_wire(target, our_name, _TIMEOUTS)
    try:
        encrypted = wire.encrypted
        wire.write(b"QUIT\r\n")
        await wire.closing(_TIMEOUTS.quit)
    finally:
        wire.drop()
    login = f", takes the login of {target.username}" if target.username is not None else ""
    if encrypted:
        return Finding("relay", Verdict.OK, f"{target} answers, its certificate holds{login}; no mail was sent")
    if target.loopback:
        return Finding("relay", Verdict.OK, f"{target} answers on this machine{login}; no mail was sent")
    advice = "mail goes there in clear text: let it offer STARTTLS, and ask for it with ?tls=required"
    return Finding("relay", Verdict.WARNING, f"{target} answers{login}; {advice}")
