"""Running the site under uvicorn."""

from __future__ import annotations

import threading

import uvicorn

from service.database import Database
from service.settings import Settings
from service.web.app import create_app
from service.web.site import Site


def serve(settings: Settings, database: Database) -> None:
    """Serve until SIGINT or SIGTERM. The configured logging is left as it is.

    The archive is read while the first pages are served, so that no visitor waits for it.
    """
    site = Site(settings, database)
    threading.Thread(target=site.archive.warm, name="archive", daemon=True).start()
    uvicorn.run(
        create_app(settings, database, site),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
