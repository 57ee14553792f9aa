"""The API's application: its routes, its errors, its allowance."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import service
from service.matching.language import QueryError
from service.web.api import catalogue, preferences, reading, subscribing
from service.web.api.shapes import ProblemOut
from service.web.serving import forms
from service.web.serving.problem import MEDIA_TYPE, problem
from service.web.serving.traced import NO_OTHER
from service.web.site import Site

log = structlog.get_logger(__name__)

_DESCRIPTION = (
    "Papers, search, topics and a reader’s own subscription. Lists come in pages: follow the Link header with"
    " rel=next (RFC 8288). Errors are problem details (RFC 9457)."
)


def create_api(site: Site) -> FastAPI:
    """The API on one site."""
    errors = {"model": ProblemOut, "description": "A problem (RFC 9457)", "content": {MEDIA_TYPE: {}}}
    app = FastAPI(
        telemetry=NO_OTHER,
        title="Paperround",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": f"{site.settings.origin}/api/v1"}],
        root_path_in_servers=False,
        responses={"4XX": errors},
        contact={"name": site.settings.sender_name},
    )
    app.state.site = site
    app.add_middleware(_Allowance, site=site)
    for room in (reading, catalogue, subscribing, preferences):
        app.include_router(room.routes(site))

    @app.get("/", include_in_schema=False)
    def documentation() -> HTMLResponse:
        """The reference, rendered from the description itself: no script, nothing from elsewhere."""
        return site.page("api.html", {"api": app.openapi(), "release": service.__version__})

    _add_errors(app)
    return app


def _add_errors(app: FastAPI) -> None:
    async def http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 (registered for nothing else)
        return problem(error.status_code, str(error.detail), headers=error.headers)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        lines = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
        return problem(422, lines[0] if lines else "The request is not what it should be.", errors=lines)

    async def not_understood(_request: Request, error: Exception) -> Response:
        return problem(400, str(error))

    async def database_away(_request: Request, error: Exception) -> Response:
        log.warning("web.database_away", error=type(error).__name__)
        return problem(503, "The database does not answer; try again in a minute.", headers={"Retry-After": "60"})

    async def broken(request: Request, error: Exception) -> Response:
        log.error("web.broken", route=request.scope.get("route") and request.scope["route"].path, exc_info=error)
        return problem(500, "The mistake is ours and has been written down.")

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(OperationalError, database_away)
    app.add_exception_handler(Exception, broken)
    for kind in dict.fromkeys((*forms.FORM_ERRORS, QueryError)):
        app.add_exception_handler(kind, not_understood)


class _Allowance:
    """ASGI middleware: counts requests and tells what is left (draft-ietf-httpapi-ratelimit-headers)."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._limits = site.limits
        self._policy = f'"minute";q={site.settings.api_requests_per_minute};w=60'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        verdict = await run_in_threadpool(self._limits.api, client[0] if client else None)
        told = {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"minute";r={verdict.remaining};t={verdict.reset_seconds}',
        }
        if not verdict.allowed:
            told["Retry-After"] = str(verdict.reset_seconds)
            await problem(429, "Too many requests: wait as Retry-After says.", headers=told)(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        await self._app(scope, receive, telling)
