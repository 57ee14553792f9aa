"""Which language a page is made in: asked for by ``?lang=``, chosen before (a cookie), else what the browser likes.

The choice is kept in the one cookie that says it, set only where somebody chose. Pages of a reader, behind a signed
link, are in the reader's own language instead.
"""

from __future__ import annotations

from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import translation
from service.translation import Language
from service.web.serving.guard import PRIVATE

PARAMETER: Final = "lang"
COOKIE: Final = "lang"
_YEAR: Final = 365 * 24 * 3600
_ENGLISH: Final = (
    "/api/",
    "/admin",
    "/static/",
    "/feeds/",
    "/hooks/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/sitemap",
    "/robots.txt",
)
"""What programs read, and operators."""
_ASKED: Final[ContextVar[tuple[str, str] | None]] = ContextVar("path and query", default=None)


class Speaks:
    """ASGI middleware: sets the language of a request, says so to caches, and keeps an explicit choice."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or path.startswith(_ENGLISH):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        query = scope["query_string"].decode("latin-1")
        asked = _asked(query) if scope["method"] in ("GET", "HEAD") else None
        language = (
            asked or _kept(headers.get("cookie", "")) or translation.negotiated(headers.get("accept-language", ""))
        )
        _ASKED.set((path, query) if not path.startswith(PRIVATE) else None)

        async def described(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Accept-Language, Cookie")
                if asked is not None:
                    answer.append("Set-Cookie", self._cookie(asked))
                    # The cookie is this reader's: no cache that others read from keeps it.
                    answer["Cache-Control"] = "private, no-cache"
            await send(message)

        with translation.speaking(language):
            await self._app(scope, receive, described)

    def _cookie(self, language: Language) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{COOKIE}={language.tag}; Path=/; Max-Age={_YEAR}; SameSite=Lax; HttpOnly{secure}"


def offered() -> list[tuple[Language, str]]:
    """The languages and where this page is in each; none where the page is a reader's, in their own."""
    asked = _ASKED.get()
    if asked is None:
        return []
    path, query = asked
    kept = [(name, value) for name, value in parse_qsl(query) if name != PARAMETER]
    # Encoded whole, so that "//elsewhere" cannot become the address of another site.
    base = "/" + quote(path.lstrip("/"), safe="/:")
    return [(each, f"{base}?{urlencode([*kept, (PARAMETER, each.tag)])}") for each in translation.LANGUAGES]


def _asked(query: str) -> Language | None:
    if f"{PARAMETER}=" not in query:
        return None
    return translation.find(dict(parse_qsl(query)).get(PARAMETER, ""))


def _kept(cookie: str) -> Language | None:
    if f"{COOKIE}=" not in cookie:
        return None
    try:
        held = SimpleCookie(cookie).get(COOKIE)
    except CookieError:
        return None
    return translation.find(held.value) if held is not None else None
