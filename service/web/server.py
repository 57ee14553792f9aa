"""Running the site under uvicorn, in one process or several."""

from __future__ import annotations

import threading
from typing import Any

import uvicorn
from fastapi import FastAPI

from service import logs, tracing
from service.database import Database
from service.readiness import open_ready
from service.settings import Settings, load
from service.web.app import create_app
from service.web.papers import previewing
from service.web.site import Site


def serve(settings: Settings, database: Database) -> None:
    """Serve until SIGINT or SIGTERM. The configured logging is left as it is.

    With several workers the processes share the port; each opens the database for itself.
    """
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": 5,
    }
    if settings.web_workers == 1:
        uvicorn.run(_ready(create_app(settings, database)), **options)
        return
    # Connections must not be shared with the processes that are started now.
    database.engine.dispose()
    uvicorn.run("service.web.server:worker", factory=True, workers=settings.web_workers, **options)


def worker() -> FastAPI:
    """The site of one of several processes, from the environment. Its database is closed by the process's end."""
    settings = load()
    logs.configure(settings)
    tracing.start(tracing.Process.WEB)
    return _ready(create_app(settings, open_ready(settings, own=False)))


def _ready(app: FastAPI) -> FastAPI:
    """Begin to build the search index now, and to find every topic's papers in it, so that nobody's first search or
    preview has to."""
    threading.Thread(target=_warm, args=(app.state.site,), name="warming", daemon=True).start()
    return app


def _warm(site: Site) -> None:
    site.archive.warm()
    previewing.warm(site)
