"""Calls of mail providers at /hooks/<provider>: there only for providers that are set up."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from service.returns import hooks
from service.returns.hooks import Call, ForgedCall, HookError
from service.web.site import Site


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    active = hooks.active(site.settings)

    @router.post("/hooks/{provider}")
    async def called(provider: str, request: Request) -> PlainTextResponse:
        if provider not in active:
            raise HTTPException(404)
        call = Call({name.lower(): value for name, value in request.headers.items()}, await request.body())
        try:
            await run_in_threadpool(hooks.take_call, site.database, site.settings, provider, call)
        except HookError as error:
            return PlainTextResponse(f"{error}\n", 403 if isinstance(error, ForgedCall) else 400)
        return PlainTextResponse("taken\n")

    return router
