"""The site as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service import tracing
from service.database import Database
from service.settings import Settings
from service.translation import gettext as _
from service.translation import later
from service.web import admin, api, health, hooks, metrics, postbox
from service.web.caching import Pages
from service.web.papers import browsing, feeds, pages, people, previewing, sitemap
from service.web.readers import account, feedback, keys, mine, preferences, subscribing
from service.web.serving.guard import Guard
from service.web.serving.problem import problem
from service.web.serving.speaking import Speaks
from service.web.serving.traced import NO_OTHER, Traced
from service.web.site import STATIC, Site

log = structlog.get_logger(__name__)

_SAID: Final = {
    400: (later("That did not work"), later("The request could not be understood.")),
    404: (later("Nothing here"), later("There is no such page. It may have been moved, or the address was mistyped.")),
    405: (later("Not that way"), later("This page cannot be used like that.")),
    422: (later("Nothing here"), later("A part of this address is not what it should be, a date or a number.")),
    500: (
        later("Something broke"),
        later("The mistake is ours and has been written down. Please try again in a minute."),
    ),
    503: (
        later("Back in a moment"),
        later("The database does not answer. Nothing is lost; please try again in a minute."),
    ),
}


def create_app(settings: Settings, database: Database, site: Site | None = None) -> FastAPI:
    """The whole site on one database; ``site`` where what it holds is to be shared."""
    site = site or Site(settings, database)
    app = FastAPI(title="Paperround", docs_url=None, redoc_url=None, openapi_url=None, telemetry=NO_OTHER)
    # The last added stands first: the proxy's word, then the guard, then the language, then the kept pages.
    app.state.site = site
    app.add_middleware(Pages, site=site)
    app.add_middleware(Speaks, secure=settings.origin.startswith("https:"))
    app.add_middleware(Guard)
    if tracing.on():
        app.add_middleware(Traced)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies.split())
    app.mount("/api/v1", api.create_api(site), name="api")
    app.mount("/static", _Static(directory=STATIC), name="static")
    # Looked through in this order: what browsers ask for at every keystroke stands first.
    rooms = (
        previewing, pages, browsing, people, subscribing, preferences, account, mine, feedback, postbox, hooks, feeds,
        sitemap, keys, health, metrics, admin,
    )  # fmt: skip
    for room in rooms:
        app.include_router(room.routes(site))
    _add_errors(app, site)
    return app


def _add_errors(app: FastAPI, site: Site) -> None:
    def said(request: Request, status: int) -> Response:
        heading, line = _SAID.get(status, (HTTPStatus(status).phrase, ""))
        if request.url.path.startswith("/api/"):
            return problem(status, line)
        if request.url.path.endswith(".json"):
            return JSONResponse({"error": heading, "detail": line}, status)
        said = [_(each) for each in (heading, line) if each]
        return site.message(*said, links=((_("The day’s papers"), "/"),), status=status)

    Handler = Callable[[Request, Exception], Awaitable[Response]]  # noqa: N806 (a type)

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        answer = said(request, status)
        if isinstance(error, HTTPException) and error.headers:
            answer.headers.update(error.headers)
        return answer

    async def invalid(request: Request, _error: Exception) -> Response:
        return said(request, 422)

    async def database_away(request: Request, error: Exception) -> Response:
        log.warning("web.database_away", error=type(error).__name__)
        return said(request, 503)

    async def broken(request: Request, error: Exception) -> Response:
        log.error("web.broken", route=request.scope.get("route") and request.scope["route"].path, exc_info=error)
        return said(request, 500)

    handlers: dict[type[Exception], Handler] = {
        HTTPException: http_error,
        RequestValidationError: invalid,
        OperationalError: database_away,
        Exception: broken,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


class _Static(StaticFiles):
    """Static files with a version in their URL: kept for a year."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        if answer.status_code == 200:
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer
