"""How often a stranger may ask: by network address, network and mail domain, and how soon after a form was shown.

Counts live in this process's memory, or in Redis where that is the broker, shared by all web processes; while Redis is
away each process counts for itself. They are a dam against floods; the rule that an address gets at most one
confirmation a day is enforced from the tables.
"""

from __future__ import annotations

import importlib
import ipaddress
import math
import time
from dataclasses import dataclass
from functools import cache
from typing import Final

import structlog
from itsdangerous import BadData, TimestampSigner
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from service.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

_FORM_HOURS: Final = 24
"""A form open for longer is sent once more, too."""
_AWAY_SECONDS: Final = 10.0
_DOOR: Final = RateLimitItemPerHour(60)
"""Links and codes that one network may ask for at the operators' door."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one more is allowed, and what is left of the allowance."""

    allowed: bool
    remaining: int
    reset_seconds: int


class Limits:
    """The limits of one installation. Where Redis does not answer, this process counts what it sees itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        shared = settings.broker_url is not None and settings.broker_url.startswith(("redis://", "rediss://"))
        self._own = SlidingWindowCounterRateLimiter(storage_from_string("memory://"))
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._away_until = float("-inf")
        if shared:
            options = {"socket_timeout": 1, "socket_connect_timeout": 1}
            storage = storage_from_string(str(settings.broker_url), wrap_exceptions=True, **options)
            self._shared = SlidingWindowCounterRateLimiter(storage)
        self._api = RateLimitItemPerMinute(settings.api_requests_per_minute)
        self._form = TimestampSigner(settings.verifying_keys, salt="paperround form")
        if settings.block_disposable:
            _throw_away()

    def signup(self, address: str | None, domain: str) -> Verdict:
        """Count one sign-up from a network address to a mail domain."""
        settings = self._settings
        verdicts = [
            self._hit(RateLimitItemPerHour(most), kind, key)
            for most, kind, key in (
                (settings.signups_per_address_hour, "signup address", address),
                (settings.signups_per_network_hour, "signup network", network(address)),
                (settings.signups_per_domain_hour, "signup domain", domain),
            )
            if most and key
        ]
        refused = [verdict for verdict in verdicts if not verdict.allowed]
        return refused[0] if refused else Verdict(True, min((each.remaining for each in verdicts), default=0), 0)

    def api(self, address: str | None) -> Verdict:
        """Count one request to the HTTP API."""
        return self._hit(self._api, "api", network(address, whole_ipv4=True) or "unknown")

    def operators_door(self, address: str | None) -> Verdict:
        """Count one link or code asked for at the operators' door."""
        return self._hit(_DOOR, "operators door", network(address) or "unknown")

    def stamp(self) -> str:
        """When a form was shown, signed: nothing to remember, and no script needed."""
        return self._form.sign(b"form").decode()

    def too_soon(self, stamp: str) -> bool:
        """Whether a form came back faster than a person types, or with no stamp of ours."""
        least = self._settings.form_seconds
        if not least:
            return False
        try:
            _, shown_at = self._form.unsign(stamp, max_age=_FORM_HOURS * 3600, return_timestamp=True)
        except BadData:
            return True
        # Stamps have whole seconds.
        return time.time() - shown_at.timestamp() < math.floor(least)

    def throw_away(self, domain: str) -> bool:
        """Whether the domain, or one it belongs to, is known to give out throw-away addresses, where the operator
        minds. Many such services take mail at any name below their own."""
        if not self._settings.block_disposable:
            return False
        labels = domain.split(".")
        return any(".".join(labels[first:]) in _throw_away() for first in range(len(labels) - 1))

    def _hit(self, item: RateLimitItem, kind: str, key: str) -> Verdict:
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return _counted(self._shared, item, kind, key)
            except StorageError as error:
                # Not asked again at once: each try may take as long as the network lets it.
                self._away_until = time.monotonic() + _AWAY_SECONDS
                log.warning("limits.away", error=type(error.storage_error).__name__)
        return _counted(self._own, item, kind, key)


def _counted(counter: SlidingWindowCounterRateLimiter, item: RateLimitItem, kind: str, key: str) -> Verdict:
    allowed = counter.hit(item, kind, key)
    window = counter.get_window_stats(item, kind, key)
    return Verdict(allowed, window.remaining, max(1, math.ceil(window.reset_time - time.time())))


def network(address: str | None, *, whole_ipv4: bool = False) -> str | None:
    """The /24 of an IPv4 address, the /64 of an IPv6 one: what one household or host is given.

    ``whole_ipv4`` keeps an IPv4 address as it is.
    """
    if address is None:
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if parsed.version == 4:
        return str(parsed) if whole_ipv4 else str(ipaddress.ip_network((parsed, 24), strict=False))
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@cache
def _throw_away() -> frozenset[str]:
    try:
        package = importlib.import_module("disposable_email_domains")
    except ImportError:
        raise SettingsError(
            "PAPERROUND_BLOCK_DISPOSABLE needs a list of domains: pip install 'paperround[disposable]'"
        ) from None
    return frozenset(package.blocklist)
