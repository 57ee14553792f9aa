"""From nothing to a connection that may send: connect, greeting, EHLO, STARTTLS, AUTH (RFC 5321, 3207, 4954)."""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from service.delivery.relay import Relay, Tls
from service.delivery.replies import Reply
from service.delivery.results import RelayDown
from service.delivery.wire import Wire, WireError

ENCRYPTION_HINT = "give a certificate to trust with ca=FILE, or tls=off on a network you trust"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = 30.0
    command: float = 60.0
    """Waiting for any reply but the one below."""
    content: float = 60.0
    """Waiting for the reply to a message's final dot. Too short makes duplicates (RFC 1047)."""
    quit: float = 2.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the relay offers, from its answer to EHLO."""

    pipelining: bool = False
    starttls: bool = False
    eight_bit: bool = False
    utf8: bool = False
    size: bool = False
    largest: int | None = None
    """Octets of the largest message taken; None: not told."""
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, reply: Reply) -> Capabilities:
        """Read an EHLO reply; its first line is the server's name."""
        words: Mapping[str, list[str]] = {
            name.upper(): values for name, *values in (line.split() for line in reply.lines[1:] if line.strip())
        }
        size = next(iter(words.get("SIZE", [])), "")
        return cls(
            pipelining="PIPELINING" in words,
            starttls="STARTTLS" in words,
            eight_bit="8BITMIME" in words,
            utf8="SMTPUTF8" in words,
            size="SIZE" in words,
            largest=int(size) if size.isascii() and size.isdigit() and int(size) > 0 else None,
            auth=frozenset(value.upper() for value in words.get("AUTH", [])),
        )


async def open_wire(relay: Relay, our_name: str, timeouts: Timeouts) -> tuple[Wire, Capabilities]:
    """A connection on which MAIL may be said.

    Raises :class:`RelayDown`: whatever goes wrong before the first message says nothing about a message.
    """
    wire = await _connect(relay, timeouts)
    try:
        greeting = await wire.reply(timeouts.command)
        if greeting.code != 220:
            raise RelayDown(f"the relay {relay} turns us away ({greeting.codes}): look at its logs")
        capabilities = await _hello(relay, wire, our_name, timeouts)
        encrypted = relay.tls is Tls.IMPLICIT
        if relay.tls is Tls.REQUIRED or (relay.tls is Tls.OFFERED and capabilities.starttls):
            await _start_tls(relay, wire, capabilities, timeouts)
            capabilities = await _hello(relay, wire, our_name, timeouts)
            encrypted = True
        if relay.username is not None:
            if not encrypted and not relay.loopback:
                raise RelayDown(f"the password of the relay {relay} is never sent in clear text: use tls=required")
            await _authenticate(relay, wire, capabilities, timeouts)
    except WireError as error:
        wire.drop()
        raise RelayDown(f"the relay {relay} gave up during the opening ({error}): look at its logs") from None
    except BaseException:
        wire.drop()
        raise
    return wire, capabilities


def name_of(mail_domain: str) -> str:
    """What to call ourselves in EHLO: a domain if there is one, else an address literal (RFC 5321 §4.1.3)."""
    if "." in mail_domain and mail_domain.isascii():
        return mail_domain
    try:
        return f"[{ipaddress.ip_address(mail_domain)}]"
    except ValueError:
        return "[127.0.0.1]"


async def _connect(relay: Relay, timeouts: Timeouts) -> Wire:
    try:
        context = _trust(relay.ca_file) if relay.tls is Tls.IMPLICIT else None
        return await Wire.connect(relay.host, relay.port, seconds=timeouts.connect, tls=context, server_name=relay.host)
    except ssl.SSLError as error:
        raise RelayDown(_tls_trouble(relay, error)) from None
    except TimeoutError:
        raise RelayDown(f"the relay {relay} does not answer: check PAPERROUND_SMTP_URL and the network") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RelayDown(f"the relay {relay} cannot be reached ({reason}): check PAPERROUND_SMTP_URL") from None


async def _hello(relay: Relay, wire: Wire, our_name: str, timeouts: Timeouts) -> Capabilities:
    wire.write(f"EHLO {our_name}\r\n".encode("ascii"))
    reply = await wire.reply(timeouts.command)
    if reply.code == 250:
        return Capabilities.parse(reply)
    if reply.code >= 500:
        wire.write(f"HELO {our_name}\r\n".encode("ascii"))
        reply = await wire.reply(timeouts.command)
        if reply.code == 250:
            return Capabilities()
    raise RelayDown(f"the relay {relay} refuses our greeting ({reply.codes}): look at its logs")


async def _start_tls(relay: Relay, wire: Wire, capabilities: Capabilities, timeouts: Timeouts) -> None:
    if not capabilities.starttls:
        raise RelayDown(f"the relay {relay} offers no encryption: use smtps://, or tls=off on a network you trust")
    wire.write(b"STARTTLS\r\n")
    reply = await wire.reply(timeouts.command)
    if reply.code != 220:
        raise RelayDown(f"the relay {relay} refuses STARTTLS ({reply.codes}): look at its logs")
    try:
        await wire.start_tls(_trust(relay.ca_file), relay.host, timeouts.connect)
    except (ssl.SSLError, TimeoutError, OSError) as error:
        raise RelayDown(_tls_trouble(relay, error)) from None


async def _authenticate(relay: Relay, wire: Wire, capabilities: Capabilities, timeouts: Timeouts) -> None:
    username, password = (relay.username or "").encode(), (relay.password or "").encode()
    if "PLAIN" in capabilities.auth:
        wire.write(b"AUTH PLAIN " + base64.b64encode(b"\0" + username + b"\0" + password) + b"\r\n")
        reply = await wire.reply(timeouts.command)
    elif "LOGIN" in capabilities.auth:
        wire.write(b"AUTH LOGIN\r\n")
        reply = await wire.reply(timeouts.command)
        for answer in (username, password):
            if reply.code != 334:
                break
            wire.write(base64.b64encode(answer) + b"\r\n")
            reply = await wire.reply(timeouts.command)
    else:
        raise RelayDown(f"the relay {relay} offers no login we know (PLAIN or LOGIN): leave user and password out")
    if reply.code != 235:
        raise RelayDown(f"the relay {relay} refuses the login ({reply.codes}): check user and password")


@cache
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    # Reading the system's certificates takes tens of milliseconds: once a process.
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _tls_trouble(relay: Relay, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the relay {relay} does not hold ({error.verify_message}): {ENCRYPTION_HINT}"
    reason = getattr(error, "reason", None) or type(error).__name__
    return f"encryption with the relay {relay} failed ({reason}): check the port and smtp:// or smtps://"
