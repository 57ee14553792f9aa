"""Fetching over HTTP with manners and without surprises.

A URL comes from settings, but redirects and DNS answers come from outside: every connection, the first and those after
redirects, goes to an address that was resolved here and found public. Bodies and times are limited.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import time
from collections.abc import Mapping
from typing import Final

import httpx

from service import __version__
from service.settings import Settings

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Bytes, unpacked."""
_TRIES: Final = 3
_LONGEST_PAUSE: Final = 20.0
_TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


class FetchError(Exception):
    """A fetch that failed for now. One line: the URL's host, what happened, the remedy."""


class Fetcher:
    """GETs a URL: a few tries for answers that pass, none for a network that is not there."""

    def __init__(self, settings: Settings, *, pause: float = 2.0) -> None:
        contact = settings.contact or settings.sender_address
        self._headers = {"User-Agent": f"Paperround/{__version__} (+{contact})"}
        self._timeout = httpx.Timeout(settings.fetch_timeout_seconds, connect=min(settings.fetch_timeout_seconds, 8.0))
        self._allow_private = settings.allow_private_sources
        self._pause = pause

    def get(self, url: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body of a 200 answer. Raises :class:`FetchError`."""
        host = httpx.URL(url).host
        with httpx.Client(
            transport=_PublicOnly(allow_private=self._allow_private),
            headers=self._headers,
            timeout=self._timeout,
            follow_redirects=True,
            max_redirects=5,
        ) as client:
            for attempt in range(1, _TRIES + 1):
                try:
                    answer = _read(client, url, query)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    raise FetchError(f"{host} cannot be reached ({_reason(error)}): check the network") from error
                except httpx.HTTPError as error:
                    problem, wanted = f"broke off ({_reason(error)})", None
                except httpx.InvalidURL as error:
                    raise FetchError(f"{host} redirects to something that is no URL ({error})") from error
                else:
                    if isinstance(answer, bytes):
                        return answer
                    if answer.status_code not in _TRY_AGAIN:
                        raise FetchError(f"{host} answered {answer.status_code}: check the address in the settings")
                    problem, wanted = f"answered {answer.status_code}", answer.headers.get("Retry-After")
                if attempt < _TRIES:
                    time.sleep(self._wait(attempt, wanted))
        raise FetchError(f"{host} {problem}, {_TRIES} times: try again later")

    def _wait(self, attempt: int, wanted: str | None) -> float:
        """Seconds: what the server asked for, within reason; else doubling, spread so that crowds part."""
        if wanted is not None and wanted.isdigit():
            return min(float(wanted), _LONGEST_PAUSE)
        spread = random.uniform(0.7, 1.3)  # noqa: S311 (parts crowds, guards nothing)
        return min(self._pause * (1 << (attempt - 1)) * spread, _LONGEST_PAUSE)


def _read(client: httpx.Client, url: str, query: Mapping[str, str] | None) -> bytes | httpx.Response:
    with client.stream("GET", url, params=query) as answer:
        if answer.status_code != 200:
            return answer
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > LARGEST_BODY:
                raise FetchError(f"{answer.url.host} sends more than {LARGEST_BODY >> 20} MiB: that is no feed")
        return bytes(body)


class _PublicOnly(httpx.BaseTransport):
    """Resolves each host itself, refuses addresses that are not public, and connects to the very address it checked:
    between a check and a second look-up the answer could change."""

    def __init__(self, *, allow_private: bool) -> None:
        self._inner = httpx.HTTPTransport(http2=True)
        self._allow_private = allow_private

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        try:
            found = socket.getaddrinfo(host, request.url.port or request.url.scheme, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"its name cannot be resolved: {error}", request=request) from error
        addresses = [str(answer[4][0]) for answer in found]
        if not self._allow_private:
            for address in addresses:
                if not ipaddress.ip_address(address.partition("%")[0]).is_global:
                    raise httpx.ConnectError(f"{host} is a private address", request=request)
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=addresses[0]),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return self._inner.handle_request(pinned)

    def close(self) -> None:
        self._inner.close()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
