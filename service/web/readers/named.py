"""The reader whom a signed link names, and clear pages where it names nobody."""

from __future__ import annotations

from collections.abc import Callable

from fastapi.responses import HTMLResponse

from service import translation
from service.subscribers import accounts
from service.subscribers.accounts import AccountError, ReaderView
from service.subscribers.tokens import ExpiredToken, Purpose, TokenError
from service.translation import gettext as _
from service.web.site import Site


def again() -> tuple[tuple[str, str], ...]:
    """Where who has no working link goes on."""
    return ((_("Subscribe page"), "/subscribe"),)


def reader(site: Site, purpose: Purpose, token: str, page: Callable[[ReaderView], HTMLResponse]) -> HTMLResponse:
    """The page for the reader whom a link names."""
    return thing(site, purpose, token, lambda reader_id: known(site, reader_id, page))


def thing(site: Site, purpose: Purpose, token: str, page: Callable[[int], HTMLResponse]) -> HTMLResponse:
    """The page for whatever a link names."""
    try:
        named = site.links.read(purpose, token)
        return page(named)
    except ExpiredToken as error:
        return site.message(_("This link has expired"), str(error), links=again(), status=410)
    except TokenError as error:
        return site.message(_("This link is not valid"), str(error), links=again(), status=404)
    except AccountError as error:
        return site.message(_("That is not possible"), str(error), links=again(), status=410)


def known(site: Site, reader_id: int, page: Callable[[ReaderView], HTMLResponse]) -> HTMLResponse:
    with site.database.transaction() as session:
        found = accounts.get(session, reader_id)
    if found is None:
        return gone(site)
    translation.speak(translation.of(found.language))
    return page(found)


def gone(site: Site) -> HTMLResponse:
    links = ((_("Subscribe again"), "/subscribe"),)
    return site.message(_("Nothing here"), _("This subscription does not exist any more."), links=links, status=410)
