"""Running the site under uvicorn."""

from __future__ import annotations

import uvicorn

from service.database import Database
from service.settings import Settings
from service.web.app import create_app


def serve(settings: Settings, database: Database) -> None:
    """Serve until SIGINT or SIGTERM. The configured logging is left as it is."""
    uvicorn.run(
        create_app(settings, database),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
