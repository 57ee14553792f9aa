"""Which relays to use and how to speak to them, read from the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from service import tracing
from service.delivery import local, throttle
from service.delivery.results import RelayDown
from service.delivery.throttle import Rate
from service.settings import Settings

__all__ = ["Relay", "RelayDown", "Tls", "configured", "parse"]

_OPTIONS = frozenset({"tls", "ca", "weight", "connections", "messages", "rate"})
_LARGEST = 100_000


class Tls(StrEnum):
    """When a connection is encrypted. A certificate is always verified."""

    IMPLICIT = "implicit"
    """From the first byte: ``smtps://``."""
    REQUIRED = "required"
    """By STARTTLS, or not at all: ``?tls=required``, and the default when a user is named."""
    OFFERED = "offered"
    """By STARTTLS where the relay offers it: the default without a user."""
    OFF = "off"
    """Never: ``?tls=off``, and the default on this machine."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A mail server that takes our messages."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Trusted in place of the system's certificates."""
    weight: int = 1
    """Its share of the mail beside other relays."""
    connections: int | None = None
    """At most so many from one sender; None: as many as the settings say."""
    messages_per_connection: int | None = None
    rates: tuple[Rate, ...] = ()
    """What all senders together may hand it."""

    @property
    def loopback(self) -> bool:
        """Whether the relay is on this machine, so that clear text meets no wire."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def described(self) -> dict[str, tracing.Value]:
        """The far end, as spans tell it."""
        return {"network.protocol.name": "smtp", "server.address": self.host, "server.port": self.port}

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def configured(settings: Settings) -> tuple[Relay, ...]:
    """The relays of ``PAPERROUND_SMTP_URL``, or in embedded mode without one the local mailbox.

    One URL, or several with white space between them, each
    ``smtp[s]://[user:password@]host[:port][?option=value&…]``; user and password are percent-decoded. Ports by default:
    465 for smtps, 587 with a user, else 25. Options: ``tls=required|offered|off``, ``ca=FILE``, ``weight=N`` (its
    share beside others, 1), ``connections=N``, ``messages=N`` (on one connection) and, as often as there are limits,
    ``rate=N/second`` (or minute, hour, day).

    Raises :class:`RelayDown` with the remedy.
    """
    if settings.smtp_url is not None:
        found = tuple(parse(url) for url in settings.smtp_url.split())
        if len({str(each) for each in found}) < len(found):
            raise _unusable("it names one relay twice: give it a larger weight= instead")
        return found
    if not settings.embedded:
        raise RelayDown("no relay is set: name one in PAPERROUND_SMTP_URL, for example smtp://user:password@host:587")
    port = local.running_port(settings.home)
    if port is None:
        raise RelayDown("the local mailbox is not running: start it with `paperround up`")
    return (Relay("127.0.0.1", port, Tls.OFF),)


def parse(url: str) -> Relay:
    """Read the URL of a relay. Raises :class:`RelayDown`; the URL itself, which may hold a password, is not told."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unusable("the port must be a number up to 65535") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise _unusable("it must look like smtp://user:password@host:587 or smtps://host")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if (username is None) != (password is None):
        raise _unusable("user and password go together; percent-encode @ : / in them")
    options = parse_qs(parts.query)
    if unknown := options.keys() - _OPTIONS:
        raise _unusable(f"there is no option {min(unknown)}=: there are {', '.join(sorted(_OPTIONS))}")
    ca_file = Path(options["ca"][-1]) if "ca" in options else None
    if ca_file is not None and not ca_file.is_file():
        raise _unusable(f"there is no file {ca_file} for ca=")
    try:
        rates = tuple(throttle.rate(wish) for wish in options.get("rate", ()))
    except throttle.RateError as error:
        raise _unusable(str(error)) from None
    if len({each.seconds for each in rates}) < len(rates):
        raise _unusable("there are two rates for the same period")
    relay = Relay(
        host=parts.hostname,
        port=port or (465 if parts.scheme == "smtps" else 587 if username else 25),
        tls=Tls.IMPLICIT,
        username=username,
        password=password,
        ca_file=ca_file,
        weight=_number(options, "weight") or 1,
        connections=_number(options, "connections"),
        messages_per_connection=_number(options, "messages"),
        rates=rates,
    )
    wish = options["tls"][-1] if "tls" in options else None
    if parts.scheme == "smtps":
        if wish is not None:
            raise _unusable("smtps:// is always encrypted; tls= goes with smtp://")
        return relay
    return _with_tls(relay, wish)


def _number(options: Mapping[str, Sequence[str]], name: str) -> int | None:
    if name not in options:
        return None
    value = options[name][-1]
    if not (value.isascii() and value.isdigit() and 0 < int(value) <= _LARGEST):
        raise _unusable(f"{name}= must be a number from 1 to {_LARGEST}")
    return int(value)


def _with_tls(relay: Relay, wish: str | None) -> Relay:
    if wish is None:
        tls = Tls.OFF if relay.loopback else Tls.REQUIRED if relay.username else Tls.OFFERED
    elif wish in (Tls.REQUIRED, Tls.OFFERED, Tls.OFF):
        tls = Tls(wish)
    else:
        raise _unusable("tls= must be required, offered or off")
    if relay.username and tls in (Tls.OFF, Tls.OFFERED) and not relay.loopback:
        raise _unusable("a password is never sent in clear text: use tls=required or smtps://")
    return replace(relay, tls=tls)


def _unusable(why: str) -> RelayDown:
    return RelayDown(f"PAPERROUND_SMTP_URL is not usable: {why}")
