"""What stands before every page: headers, limits, and who may post."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.serving.problem import problem

LARGEST_BODY: Final = 256 * 1024
"""Bytes of a posted form."""
LARGEST_CALL: Final = 2 * 1024 * 1024
"""Bytes of a provider's call, which brings many events at once."""

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PRIVATE: Final = (
    "/confirm/", "/preferences/", "/unsubscribe/", "/less/", "/digest/", "/feedback/", "/sign-in/", "/address/",
    "/account", "/token/", "/feeds/mine/", "/mailbox", "/admin",
)  # fmt: skip
"""Where an address is itself a secret."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware: security headers on every answer, a limit on bodies, and no posts from other sites.

    A foreign post could do no more than a signed link it does not have: the cookies, of who is signed in, are
    SameSite and not sent with it. It is refused all the same. One-click unsubscribe (RFC 8058) is posted by mail
    providers and is the exception.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), str(scope["path"])
        largest = LARGEST_CALL if path.startswith("/hooks/") else LARGEST_BODY
        if scope["method"] not in _SAFE:
            if not path.startswith("/unsubscribe/") and _foreign(headers):
                await _refusal(path, 403, "This form belongs to another site.")(scope, receive, send)
                return
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > largest:
                await _refusal(path, 413, "That is too much for a form.")(scope, receive, send)
                return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # A body without a length that goes on and on: the rest is not read.
            return {"type": "http.disconnect"} if received > largest else message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _protect(MutableHeaders(scope=message), path)
            await send(message)

        await self._app(scope, limited, guarded)


def _refusal(path: str, status: int, line: str) -> Response:
    return problem(status, line) if path.startswith("/api/") else PlainTextResponse(f"{line}\n", status)


def _protect(headers: MutableHeaders, path: str) -> None:
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    private = path.startswith(PRIVATE)
    # The address of such a page is a secret: it is not told to the next site, and not kept.
    headers["Referrer-Policy"] = "no-referrer" if private else "same-origin"
    if private:
        headers["Cache-Control"] = "no-store"


def _foreign(headers: Headers) -> bool:
    """Whether the browser says that another site sent this. Programs say nothing, and may post."""
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and (origin == "null" or urlsplit(origin).netloc != headers.get("host"))
