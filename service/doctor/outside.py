"""What others see of us: the site's public address, and our clock beside theirs."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from service import __version__
from service.doctor.findings import Finding, Verdict
from service.settings import Settings

_SECONDS: Final = 5.0
_CLOCK_BORNE: Final = 30.0
"""Seconds: HTTP's Date has whole ones, and an answer takes time."""
_CLOCK_WRONG: Final = 300.0
"""Seconds at which receivers doubt signatures and dates, and leases of several machines overlap."""


def site(settings: Settings) -> Iterator[Finding]:
    """Fetch the site's health page by the address that mails carry.

    From here only half is seen: name, certificate and proxy hold, but not whether a firewall lets strangers in.
    """
    parts = urlsplit(settings.origin)
    if settings.embedded and not settings.site_url:
        return
    url = f"{settings.origin}/healthz"
    try:
        answer = _client().get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        remedy = "links in mails lead there: see that the site runs, and check its proxy, certificate and name"
        yield Finding("site from outside", Verdict.WARNING, f"{url} cannot be fetched ({reason}): {remedy}")
        return
    if answer.is_redirect:
        target = answer.headers.get("location", "elsewhere")
        remedy = "one-click unsubscribe must not be redirected (RFC 8058): set PAPERROUND_SITE_URL to where it leads"
        yield Finding("site from outside", Verdict.WARNING, f"{url} leads to {target}: {remedy}")
    elif answer.status_code != 200 or answer.text.strip() != "ok":
        remedy = "another program answers there: check the proxy and PAPERROUND_SITE_URL"
        yield Finding("site from outside", Verdict.FAILURE, f"{url} answers {answer.status_code}: {remedy}")
    elif not _public(parts.hostname or ""):
        remedy = "its name leads to a private address, so one-click unsubscribe reaches it only from this network"
        yield Finding("site from outside", Verdict.WARNING, f"{url} answers, but {remedy}")
    else:
        caveat = "asked from this machine: open it from another network too"
        yield Finding("site from outside", Verdict.OK, f"{url} answers, its name and certificate hold; {caveat}")


def clock(settings: Settings) -> Iterator[Finding]:
    """Our clock beside that of the first source's server, by its HTTP Date (RFC 9110, 6.6.1), in half a round trip."""
    origin = settings.huggingface_url if "huggingface" in settings.sources.split() else settings.arxiv_rss_url
    asked = datetime.now(UTC)
    try:
        answer = _client().head(f"{origin}/")
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        host = urlsplit(origin).hostname
        yield Finding("clock", Verdict.OK, f"not compared: {host} tells no time; see that this machine keeps it by NTP")
        return
    ours = asked + (datetime.now(UTC) - asked) / 2
    yield _difference("clock", (ours - theirs.astimezone(UTC)).total_seconds(), str(urlsplit(origin).hostname))


def database_clock(ours: datetime, theirs: datetime) -> Finding:
    """Leases and due times meet the database's clock in no statement of ours, but all workers' clocks meet there."""
    return _difference("database clock", (ours - theirs).total_seconds(), "the database's machine")


def _difference(check: str, seconds: float, whom: str) -> Finding:
    off = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {whom}"
    if abs(seconds) > _CLOCK_WRONG:
        remedy = "signatures and leases go wrong: keep the time by NTP (chrony, systemd-timesyncd)"
        return Finding(check, Verdict.FAILURE, f"this machine is {off}: {remedy}")
    if abs(seconds) > _CLOCK_BORNE:
        return Finding(check, Verdict.WARNING, f"this machine is {off}: keep the time by NTP")
    return Finding(check, Verdict.OK, f"agrees with {whom} within {_CLOCK_BORNE:.0f} s")


def _client() -> httpx.Client:
    return httpx.Client(
        timeout=_SECONDS, follow_redirects=False, headers={"User-Agent": f"paperround/{__version__} (doctor)"}
    )


def _public(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_global for each in found)
