"""The page that gives a token of the HTTP API. The GET shows a button; only the POST gives."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service.subscribers import access
from service.subscribers.tokens import ExpiredToken, Purpose, TokenError
from service.translation import day
from service.translation import gettext as _
from service.web.site import Site


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/token/{code}")
    def token_button(code: str) -> HTMLResponse:
        try:
            site.links.read(Purpose.TOKEN, code)
        except TokenError as error:
            return _refused(site, error)
        lines = (_("A token lets a program read and change your preferences for 90 days. It is shown once."),)
        values = {"heading": _("An access token for programs"), "lines": lines, "button": _("Show me a token")}
        return site.page("act.html", values)

    @router.post("/token/{code}")
    def give_token(code: str) -> HTMLResponse:
        try:
            with site.database.transaction() as session:
                given = access.exchange(session, site.links, code)
        except TokenError as error:
            return _refused(site, error)
        lines = (given.token, _("Copy it now. It ends on %(day)s.", day=day(given.expires_at)))
        return site.message(_("Your access token"), *lines, links=((_("How to use it"), "/api/v1/"),))

    return router


def _refused(site: Site, error: TokenError) -> HTMLResponse:
    status = 410 if isinstance(error, ExpiredToken) else 404
    return site.message(_("This link is not valid"), str(error), links=((_("The day’s papers"), "/"),), status=status)
