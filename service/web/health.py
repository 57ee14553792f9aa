"""Does the process live, and can it serve? For balancers and orchestrators; the answers name no secret."""

from __future__ import annotations

from typing import Final

import redis
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError

from service.database import migrations
from service.settings import Settings
from service.web.site import Site

_BROKER_SECONDS: Final = 2.0


def routes(site: Site) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    def healthz() -> PlainTextResponse:
        """The process lives and answers. A database that is away is no reason to kill it."""
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    def readyz() -> PlainTextResponse:
        """The process can serve: the database answers and has this version's schema.

        A broker that is named and does not answer is told and keeps nobody out: pages and sign-ups do not need it, and
        the schedule finds their work later (decision 003).
        """
        try:
            waiting = migrations.pending(site.database)
        except SQLAlchemyError as error:
            return PlainTextResponse(f"not ready: the database does not answer ({type(error).__name__})\n", 503)
        if waiting:
            return PlainTextResponse(f"not ready: migrations waiting: {', '.join(waiting)}\n", 503)
        trouble = _broker_trouble(site.settings)
        return PlainTextResponse(f"ready{f'; {trouble}' if trouble else ''}\n")

    return router


def _broker_trouble(settings: Settings) -> str:
    if settings.broker_url is None or not settings.broker_url.startswith(("redis://", "rediss://")):
        return ""
    try:
        with redis.Redis.from_url(
            settings.broker_url, socket_timeout=_BROKER_SECONDS, socket_connect_timeout=_BROKER_SECONDS
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return f"the broker does not answer ({type(error).__name__}), mail goes out by the schedule's next turns"
    return ""
