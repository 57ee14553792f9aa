"""One GET with manners: in turn, at the host's pace, conditional, a few tries, within limits of time and size."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from service import __version__, tracing
from service.papers.fetching import waits
from service.papers.fetching.addresses import PrivateAddress, PublicOnly
from service.papers.fetching.state import Host, Kept, Remembered, State
from service.settings import Settings

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Bytes, unpacked."""
ARXIV: Final = "arxiv.org"
ARXIV_PACE_SECONDS: Final = 3.0
"""Between two requests to any of arXiv's hosts, one connection at a time (https://info.arxiv.org/help/api/tou.html)."""
_TRIES: Final = 3
_LONGEST_PAUSE: Final = 20.0
"""Seconds that a fetch sleeps before a try; who asks for more is left alone and the fetch fails for now."""
_PATIENCE_SECONDS: Final = 120.0
"""For another process that is talking to the host."""
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVERLOADED: Final = frozenset({429, 503})
_FAILURES_BEFORE_PAUSE: Final = 3
_WHOLE_ANSWER: Final = 6
"""Times the timeout: how long a whole answer may take, so that a body that trickles does not hold the reading up."""


class FetchError(Exception):
    """A fetch that failed for now. One line: the URL's host, what happened, the remedy."""


class Fetcher:
    """GETs URLs. Give it a :class:`~service.papers.fetching.state.Stored` state to share manners between processes."""

    def __init__(self, settings: Settings, state: State | None = None, *, pause: float | None = None) -> None:
        contact = settings.contact or settings.sender_address
        self._headers = {
            "User-Agent": f"Paperround/{__version__} (+{contact})",
            # No other: unpacked here, within limits.
            "Accept-Encoding": "gzip",
        }
        self._timeout = httpx.Timeout(settings.fetch_timeout_seconds, connect=min(settings.fetch_timeout_seconds, 8.0))
        self._whole_seconds = settings.fetch_timeout_seconds * _WHOLE_ANSWER
        self._allow_private = settings.allow_private_sources
        self._pace = settings.fetch_pace_seconds
        self._state = state or Remembered()
        self._pause = settings.fetch_retry_seconds if pause is None else pause

    def get(self, url: str, query: Mapping[str, str] | None = None, *, tries: int = _TRIES) -> bytes:
        """The body of a 200 answer, or the kept one where the server says that it still stands.

        Steps: take the host's turn; wait until the host may be asked, or fail where that is long; ask with the
        validators of the kept body; keep the new body; note when the host may be asked again. A crash between two
        steps leaves at most a body that is asked for again. Raises :class:`FetchError`.
        """
        whole = _whole(url, query)
        host = _paced_as(whole)
        try:
            with self._state.turn(host, _PATIENCE_SECONDS), self._client(whole) as client:
                return self._tried(client, str(whole), host, tries)
        except TimeoutError:
            raise FetchError(f"{host} is being asked by another process all the time: try again later") from None

    def forget(self, url: str, query: Mapping[str, str] | None = None) -> None:
        """Drop the kept body of a URL: it turned out to be unusable, and must not be what "unchanged" stands for."""
        self._state.forget(str(_whole(url, query)))

    def _client(self, url: httpx.URL) -> httpx.Client:
        return httpx.Client(
            transport=PublicOnly(url if self._allow_private else None),
            headers=self._headers,
            timeout=self._timeout,
            follow_redirects=True,
            max_redirects=5,
        )

    def _tried(self, client: httpx.Client, url: str, host: str, tries: int) -> bytes:
        known = self._state.host(host)
        wanted: float | None = None
        status, problem = 0, ""
        for attempt in range(1, tries + 1):
            self._wait_for(host, known)
            kept = self._state.kept(url)
            wanted = None
            try:
                answer = self._asked(client, url, kept)
            except PrivateAddress as error:
                raise FetchError(
                    f"{host} is not read: {_reason(error)}; PAPERROUND_ALLOW_PRIVATE_SOURCES lets a source have one"
                ) from error
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise FetchError(f"{host} cannot be reached ({_reason(error)}): check the network") from error
            except httpx.TooManyRedirects as error:
                raise FetchError(f"{host} redirects without end: check the address in the settings") from error
            except httpx.HTTPError as error:
                status, problem = 0, f"broke off ({_reason(error)})"
            except httpx.InvalidURL as error:
                raise FetchError(f"{host} redirects to something that is no URL ({error})") from error
            else:
                if answer.body is not None:
                    self._state.note(host, Host(self._after(self._pace_of(host))))
                    if answer.fresh is not None:
                        self._state.keep(url, answer.fresh)
                    return answer.body
                status, problem = answer.status, f"answered {answer.status}"
                if status not in _TRY_AGAIN:
                    self._state.note(host, Host(self._after(self._pace_of(host)), known.failures))
                    raise FetchError(f"{host} {problem}: check the address in the settings")
                wanted = waits.retry_after(answer.retry_after, datetime.now(UTC))
            pause = wanted if wanted is not None else waits.between_tries(attempt, self._pause)
            if attempt < tries and pause <= _LONGEST_PAUSE:
                known = Host(self._after(max(pause, self._pace_of(host))), known.failures)
                self._state.note(host, known)
            else:
                break
        raise self._given_up(
            host, known.failures + 1, status, wanted, f"{problem}, {attempt} times" if attempt > 1 else problem
        )

    def _given_up(self, host: str, failures: int, status: int, wanted: float | None, problem: str) -> FetchError:
        """Leave the host alone for a while, also after a restart, and say so."""
        pause = self._pace_of(host)
        if wanted is not None:
            pause = max(pause, wanted)
        elif status in _OVERLOADED or failures >= _FAILURES_BEFORE_PAUSE:
            pause = max(pause, waits.after_failures(failures))
        until = self._after(pause)
        self._state.note(host, Host(until, failures))
        when = f", not before {until:%H:%M} UTC" if pause > _LONGEST_PAUSE else ""
        return FetchError(f"{host} {problem}: try again later{when}")

    def _wait_for(self, host: str, known: Host) -> None:
        if known.not_before is None:
            return
        pause = (known.not_before - datetime.now(UTC)).total_seconds()
        if pause > _LONGEST_PAUSE:
            raise FetchError(
                f"{host} is left alone until {known.not_before:%Y-%m-%d %H:%M} UTC, as it asked or after failures:"
                " the next reading after that asks again"
            )
        if pause > 0:
            time.sleep(pause)

    def _asked(self, client: httpx.Client, url: str, kept: Kept | None) -> _Answer:
        headers = {}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        if kept is not None and kept.last_modified:
            headers["If-Modified-Since"] = kept.last_modified
        asked = httpx.URL(url)
        # Neither path nor query: an operator's feed may carry a key in them.
        about: dict[str, tracing.Value] = {"http.request.method": "GET", "server.address": asked.host}
        about["server.port"] = asked.port or (443 if asked.scheme == "https" else 80)
        with (
            tracing.span("GET", about, kind=tracing.Kind.CLIENT) as span,
            client.stream("GET", url, headers=headers) as answer,
        ):
            span.tell({"http.response.status_code": answer.status_code})
            if answer.status_code == 304 and kept is not None:
                return _Answer(304, kept.body)
            if answer.status_code != 200:
                return _Answer(answer.status_code, None, answer.headers.get("Retry-After"))
            body = _body(answer, time.monotonic() + self._whole_seconds)
            etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
            return _Answer(200, body, fresh=Kept(etag, modified, body) if etag or modified else None)

    def _pace_of(self, host: str) -> float:
        return max(ARXIV_PACE_SECONDS, self._pace) if host == ARXIV else self._pace

    @staticmethod
    def _after(seconds: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes | None
    """None: there is none to be had."""
    retry_after: str | None = None
    fresh: Kept | None = None


def _whole(url: str, query: Mapping[str, str] | None) -> httpx.URL:
    try:
        return httpx.URL(url, params=query) if query else httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError(f"{url[:80]} is no URL ({error}): check the settings") from error


def _paced_as(url: httpx.URL) -> str:
    """What the pace and the turn belong to: a host with its port; all of arXiv's hosts are one."""
    host = url.host.lower()
    if host == ARXIV or host.endswith(f".{ARXIV}"):
        return ARXIV
    return f"{host}:{url.port}" if url.port else host


def _body(answer: httpx.Response, until: float) -> bytes:
    """The body, unpacked, of no more than :data:`LARGEST_BODY` bytes."""
    host = answer.url.host
    coding = answer.headers.get("Content-Encoding", "identity").lower().strip()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise FetchError(f"{host} answers in the coding “{coding[:20]}”, which was not asked for")
    parts = _in_time(answer, until)
    body = bytearray()
    for part in _unpacked(parts) if "gzip" in coding else parts:
        body += part
        if len(body) > LARGEST_BODY:
            raise FetchError(f"{host} sends more than {LARGEST_BODY >> 20} MiB: that is no feed")
    return bytes(body)


def _in_time(answer: httpx.Response, until: float) -> Iterator[bytes]:
    for part in answer.iter_raw():
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the answer does not come to its end")
        yield part


def _unpacked(parts: Iterator[bytes]) -> Iterator[bytes]:
    """httpx's own decoder takes data that ends early for whole, and unpacks a bomb before it can be counted."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        for part in parts:
            waiting = part
            while waiting:
                yield unpack.decompress(waiting, LARGEST_BODY)
                waiting = unpack.unconsumed_tail
    except zlib.error as error:
        raise httpx.DecodingError(f"its compressed data is broken: {error}") from None
    if not unpack.eof:
        raise httpx.DecodingError("its compressed data ends early")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
