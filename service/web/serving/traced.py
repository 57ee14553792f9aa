"""Each request as a span, named by its route: never by its path, which may hold a secret (``guard.PRIVATE``)."""

from __future__ import annotations

from typing import Final

from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import tracing

NO_OTHER: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own telemetry is off, whatever the environment says: it exports whole paths and the words of errors."""
_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for by machines every few seconds."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Traced:
    """ASGI middleware. A trace begins here: what a stranger's ``traceparent`` says is not heard, or anybody could have
    everything sampled, under numbers of their choice."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        about: dict[str, tracing.Value] = {"http.request.method": method, "url.scheme": scope["scheme"]}
        verb = "HTTP" if method == "_OTHER" else method
        with tracing.span(verb, about, kind=tracing.Kind.SERVER) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.tell({"http.response.status_code": status})
                    if status >= 500:
                        span.fail(str(status))
                await send(message)

            try:
                await self._app(scope, receive, told)
            finally:
                if route := _route(scope):
                    span.name(f"{verb} {route}")
                    span.tell({"http.route": route})


def _route(scope: Scope) -> str:
    """The template that the address fits, as the router left it; empty where none was looked for or found."""
    route = scope.get("route")
    return str(scope.get("root_path", "")) + str(getattr(route, "path", ""))
