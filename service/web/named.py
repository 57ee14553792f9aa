"""The reader whom a signed link names, and clear pages where it names nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi.responses import HTMLResponse

from service.subscribers import accounts
from service.subscribers.accounts import AccountError, ReaderView
from service.subscribers.tokens import ExpiredToken, Purpose, TokenError
from service.web.site import Site

AGAIN: Final = (("Subscribe page", "/subscribe"),)


def reader(site: Site, purpose: Purpose, token: str, page: Callable[[ReaderView], HTMLResponse]) -> HTMLResponse:
    """The page for the reader whom a link names."""
    return thing(site, purpose, token, lambda reader_id: known(site, reader_id, page))


def thing(site: Site, purpose: Purpose, token: str, page: Callable[[int], HTMLResponse]) -> HTMLResponse:
    """The page for whatever a link names."""
    try:
        named = site.links.read(purpose, token)
        return page(named)
    except ExpiredToken as error:
        return site.message("This link has expired", str(error), links=AGAIN, status=410)
    except TokenError as error:
        return site.message("This link is not valid", str(error), links=AGAIN, status=404)
    except AccountError as error:
        return site.message("That is not possible", str(error), links=AGAIN, status=410)


def known(site: Site, reader_id: int, page: Callable[[ReaderView], HTMLResponse]) -> HTMLResponse:
    with site.database.transaction() as session:
        found = accounts.get(session, reader_id)
    return page(found) if found else gone(site)


def gone(site: Site) -> HTMLResponse:
    again = (("Subscribe again", "/subscribe"),)
    return site.message("Nothing here", "This subscription does not exist any more.", links=again, status=410)
