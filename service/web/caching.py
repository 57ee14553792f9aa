"""Rendered pages, kept while the papers stay as they are; conditional requests (RFC 9110, section 13); compression.

A page that everybody sees depends on its address, the papers and the templates. The *state* stands for the last two:
it is one row, read at most once in ``page_seconds``, and tells both whether a kept page still holds and its weak ETag.
So a request whose answer is known costs no thread, no query and no template; an unchanged one costs no body. When
papers change, one request makes the new page, and whoever comes meanwhile gets the one that was right a moment ago.
While the database is away, what is kept is served.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import structlog
from anyio import to_thread
from sqlalchemy import exc
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import translation
from service.database import Database
from service.papers import stamp
from service.settings import Settings
from service.web.serving import variants
from service.web.serving.address import CURRENT, PageAddress
from service.web.serving.variants import Variant
from service.web.site import FOLDER, Site

log = structlog.get_logger(__name__)

_PUBLIC: Final = (
    "/day/", "/days", "/week", "/month", "/trending", "/editions", "/papers/", "/topics", "/authors/",
    "/organizations/", "/search", "/feeds/", "/sitemap", "/api/v1/openapi.json",
)  # fmt: skip
_PERSONAL: Final = "/feeds/mine/"
_INDEXED: Final = ("/papers/", "/topics/", "/authors/", "/organizations/", "/search", "/feeds/")
"""Pages that ask the search index, which follows the database with some seconds' delay: they have no ETag, and are kept
for a moment only, until it has caught up."""
_STALE_SECONDS: Final = 10.0
"""How long a page that was right may be sent while its next form is being made."""
_LARGEST: Final = 512 * 1024
"""Bytes of a page that is kept."""
_MADE_AT_ONCE: Final = 2
"""Pages made at the same time. More would not be done sooner: they share one interpreter, and who only needs a kept
page would wait for it."""
_SMALLEST_COMPRESSED: Final = 600
_PUBLIC_CONTROL: Final = "public, max-age=60, stale-while-revalidate=600"
_FRONT_CONTROL: Final = "public, no-cache"
"""The front page holds a form that says when it was shown: asked for again each time."""


@dataclass(frozen=True, slots=True)
class _Kept:
    state: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    until: float


@dataclass(frozen=True, slots=True)
class State:
    name: str
    stamp: int
    """Of the papers (service/papers/stamp.py)."""
    since: float
    """By the monotonic clock."""
    before: str = ""
    """The state it came after."""
    away: bool = False
    """Whether the database did not answer: what is kept is the best there is."""


class Papers:
    """The state of what pages are made of, looked up no more often than the settings say."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._lag = settings.page_seconds
        self._state: State | None = None
        self._looked_at = float("-inf")
        self._turn = asyncio.Lock()

    async def state(self) -> State | None:
        """The state as of now; the last one known while the database is away, None where there never was one."""
        if self._state is not None and time.monotonic() - self._looked_at < self._lag:
            return self._state
        if self._state is not None and self._lag and self._turn.locked():
            # Somebody is looking already: what was true a moment ago will do.
            return self._state
        async with self._turn:
            if self._state is None or time.monotonic() - self._looked_at >= self._lag:
                await self._look_again()
            return self._state

    async def _look_again(self) -> None:
        try:
            changed_by = await to_thread.run_sync(self._look)
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            if self._state is not None and not self._state.away:
                log.warning("web.database_away", error=type(error).__name__)
            self._state = self._state and replace(self._state, away=True)
        else:
            words = f"{_templates()} {changed_by} {datetime.now(UTC).date()}"
            name = hashlib.sha256(words.encode()).hexdigest()[:16]
            if self._state is None or self._state.name != name:
                before = self._state.name if self._state is not None else ""
                self._state = State(name, changed_by, time.monotonic(), before)
            elif self._state.away:
                self._state = replace(self._state, away=False)
        self._looked_at = time.monotonic()

    def _look(self) -> int:
        with self._database.connection() as connection:
            return stamp.read(connection)


class Pages:
    """ASGI middleware: answers public GETs from kept pages, the same page rendered once however many wait for it."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        # Secret pages too: none shows a stranger's words beside a secret, which is what BREACH needs.
        self._app = GZipMiddleware(app, minimum_size=_SMALLEST_COMPRESSED, compresslevel=6)
        # What is made for one request only is compressed in a third of the time, and is a fifth larger.
        self._once = GZipMiddleware(app, minimum_size=_SMALLEST_COMPRESSED, compresslevel=2)
        self._papers = Papers(site.settings, site.database)
        self._archive = site.archive
        self._lag = site.settings.page_seconds
        self._room = site.settings.page_cache_mib * 1024 * 1024
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0
        self._makers = asyncio.Semaphore(_MADE_AT_ONCE)
        self._making: dict[tuple[str, str], asyncio.Future[_Kept | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _public(str(scope["path"])):
            await self._once(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        CURRENT.set(PageAddress(str(scope["path"]), query))
        if scope["method"] == "HEAD":
            # Everything of the GET but its body (RFC 9110, 9.3.2).
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        if scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        state = await self._papers.state()
        if state is None:
            await self._app(scope, receive, send)
            return
        indexed = str(scope["path"]).startswith(_INDEXED)
        settled = not indexed or self._archive.stamp == state.stamp
        headers = Headers(scope=scope)
        wanted = variants.variant(headers)
        address = f"{scope['path']}?{query}"
        etag = _etag(state, address, wanted) if settled else None
        if etag is not None and _matches(headers.get("if-none-match"), etag):
            # A page under this state was sent before: whoever has the tag has the page.
            await _send_unchanged(send, etag, str(scope["path"]))
            return
        key = f"{wanted.language} {wanted.compressed} {address}"
        kept = self._kept.get(key)
        if kept is not None and (state.away or (kept.state == state.name and kept.until > time.monotonic())):
            self._kept.move_to_end(key)
            await _send(send, kept)
            return
        waiting = self._making.get((state.name, key))
        if waiting is not None:
            if kept is not None and self._was_true_lately(kept, state):
                await _send(send, kept)
                return
            if (made := await asyncio.shield(waiting)) is not None:
                await _send(send, made)
                return
        await self._make(key, state, etag, scope, receive, send)

    def _was_true_lately(self, kept: _Kept, state: State) -> bool:
        """Whether a page was the right one some seconds ago: good enough while the next is being made."""
        if not self._lag:
            return False
        right_until = kept.until if kept.state == state.name else state.since if kept.state == state.before else 0.0
        return time.monotonic() - right_until < _STALE_SECONDS

    async def _make(self, key: str, state: State, etag: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the page be made, sent on as it comes, and kept if it can be."""
        future: asyncio.Future[_Kept | None] = asyncio.get_running_loop().create_future()
        name = (state.name, key)
        mine = self._making.setdefault(name, future) is future
        path = str(scope["path"])
        start: Message = {}
        body: list[bytes] = []
        size = 0

        async def taken(message: Message) -> None:
            nonlocal start, size
            if message["type"] == "http.response.start":
                if message["status"] == 200:
                    _describe(MutableHeaders(scope=message), etag, path)
                start = message
            else:
                size += len(message.get("body", b""))
                if size <= _LARGEST:
                    body.append(message.get("body", b""))
            await send(message)

        made: _Kept | None = None
        try:
            async with self._makers:
                await self._app(scope, receive, taken)
            if start.get("status") == 200 and size <= _LARGEST:
                short = path == "/" or etag is None
                until = time.monotonic() + self._lag if short else float("inf")
                made = _Kept(state.name, 200, list(start["headers"]), b"".join(body), until)
                self._keep(key, made)
        finally:
            if mine:
                del self._making[name]
            if not future.done():
                future.set_result(made)

    def _keep(self, key: str, page: _Kept) -> None:
        before = self._kept.pop(key, None)
        self._size += len(page.body) - (len(before.body) if before else 0)
        self._kept[key] = page
        while self._size > self._room and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped.body)


async def _send(send: Send, page: _Kept) -> None:
    # The list is copied: what stands before us adds its own headers.
    await send({"type": "http.response.start", "status": page.status, "headers": list(page.headers)})
    await send({"type": "http.response.body", "body": page.body})


def _without_body(send: Send) -> Send:
    async def bare(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return bare


async def _send_unchanged(send: Send, etag: str, path: str) -> None:
    message: Message = {"type": "http.response.start", "status": 304, "headers": []}
    _describe(MutableHeaders(scope=message), etag, path)
    await send(message)
    await send({"type": "http.response.body", "body": b""})


def _describe(headers: MutableHeaders, etag: str | None, path: str) -> None:
    if etag is not None:
        headers["ETag"] = etag
    headers["Vary"] = variants.VARY
    headers.setdefault("Cache-Control", _FRONT_CONTROL if path == "/" or etag is None else _PUBLIC_CONTROL)


def _public(path: str) -> bool:
    return path == "/" or (path.startswith(_PUBLIC) and not path.startswith(_PERSONAL))


def _etag(state: State, address: str, wanted: Variant) -> str:
    """Weak: compressed or not, the page is the same; in another language it is another."""
    page = f"{wanted.language} {address}"
    return f'W/"{state.name}-{hashlib.sha256(page.encode()).hexdigest()[:8]}"'


def _matches(header: str | None, etag: str) -> bool:
    """Weak comparison with any of a list (RFC 9110, 13.1.2). ``*`` is not taken: the page may not exist."""
    return header is not None and etag in (each.strip() for each in header.split(","))


@lru_cache(maxsize=1)
def _templates() -> str:
    """A fingerprint of the templates and catalogues, the same in every process of one version."""
    digest = hashlib.sha256()
    for path in sorted([*FOLDER.rglob("*"), *translation.FOLDER.rglob("*.po")]):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
