"""The dashboard: pages for the operators, below /admin. A page is a module here, a template in ``templates/web/admin``,
a line in ``navigation.py`` and its name in ``PAGES`` below."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from service.web.admin import door, log, looking, note, passkeys, people, readers, today, topics, trends, trouble
from service.web.admin.desk import Desk
from service.web.site import Site

PAGES: Final = (today, trends, trouble, readers, topics, note, looking, log, people)
DOORS: Final = (door, passkeys)


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    desk = Desk(site)
    for page in (*DOORS, *PAGES):
        router.include_router(page.routes(desk))
    return router
