"""Connections to public addresses only.

A URL comes from settings, but redirects and DNS answers come from outside: every connection, the first and those after
redirects, goes to an address that was resolved here and found public.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import httpx

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(httpx.ConnectError):
    """A connection that was not made, because it would have left the public network."""


class PublicOnly(httpx.BaseTransport):
    """Resolves each host itself, refuses it if any of its addresses is not public, and connects to the very addresses
    it checked: between a check and a second look-up the answer could change."""

    def __init__(self, private: httpx.URL | None = None) -> None:
        """``private``: a URL whose own host may be private; another that it redirects to may not."""
        # A pool for each name: pinned, two names on one address would share a connection that was verified for one.
        self._inner: dict[str, httpx.HTTPTransport] = {}
        self._private = _place(private) if private is not None else None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        try:
            found = socket.getaddrinfo(host, request.url.port or request.url.scheme, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"its name cannot be resolved: {error}", request=request) from error
        addresses = list(dict.fromkeys(str(answer[4][0]) for answer in found))
        if _place(request.url) != self._private and not all(is_public(address) for address in addresses):
            raise PrivateAddress(f"{host} is a private address", request=request)
        inner = self._inner.setdefault(host, httpx.HTTPTransport(http2=True))
        for address in addresses[:-1]:
            try:
                return inner.handle_request(_pinned(request, address, host))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return inner.handle_request(_pinned(request, addresses[-1], host))

    def close(self) -> None:
        for transport in self._inner.values():
            transport.close()


def is_public(address: str) -> bool:
    """Whether an address may be connected to: global unicast, also where it wraps an IPv4 address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        wrapped = parsed.ipv4_mapped or parsed.sixtofour
        if wrapped is None and parsed in _NAT64:
            wrapped = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return parsed.is_global and not parsed.is_multicast


def _place(url: httpx.URL) -> tuple[str, int | None]:
    """Host and port; the ports that http and https have by themselves count as one."""
    return url.host, url.port


def _pinned(request: httpx.Request, address: str, host: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
