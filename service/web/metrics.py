"""Prometheus's page. There for whoever holds the token or asks from a network named in the settings; else 404."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from service.measures import Measures
from service.settings import Settings
from service.web.site import Site

_FORWARDED: Final = ("x-forwarded-for", "forwarded", "x-real-ip")


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    measures = Measures(site.database, site.settings)

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        if not _may_read(site.settings, request):
            raise HTTPException(404)
        return Response(measures.exposition(), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})

    return router


def _may_read(settings: Settings, request: Request) -> bool:
    if settings.metrics_token is not None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        tokens = settings.metrics_token.get_secret_value().split()
        fits = any(hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens)
        if kind.lower() == "bearer" and fits:
            return True
    # Behind a proxy everybody comes from a near address: what was forwarded is nobody's neighbour.
    if any(name in request.headers for name in _FORWARDED) or request.client is None:
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(each) for each in settings.metrics_networks.split())
