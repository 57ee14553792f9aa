"""Pages of a list: an opaque cursor, and the Link header that carries it (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

from fastapi import HTTPException, Query, Request, Response

from service.web.site import Site

_LARGEST: Final = 2**63 - 1

Cursor = Annotated[str | None, Query(max_length=64, description="From the page before.")]
Limit = Annotated[int, Query(ge=1, le=100)]


def position(kind: str, cursor: str | None) -> int | None:
    """The number in a cursor of this kind of list. Raises 400 for what is no cursor of it."""
    if cursor is None:
        return None
    try:
        name, _, number = base64.urlsafe_b64decode(cursor.encode() + b"==").decode("ascii").partition(":")
    except (ValueError, binascii.Error):
        name, number = "", ""
    if name != kind or not (number.isascii() and number.isdigit() and len(number) < 20 and int(number) <= _LARGEST):
        raise HTTPException(400, "this cursor is of no page of this list: begin without one")
    return int(number)


def follow(site: Site, request: Request, response: Response, kind: str, number: int | None) -> str | None:
    """The cursor of the next page, told in the Link header too; None on the last page."""
    if number is None:
        return None
    cursor = base64.urlsafe_b64encode(f"{kind}:{number}".encode()).rstrip(b"=").decode()
    url = request.url.include_query_params(cursor=cursor)
    path = url.path.removeprefix("/api/v1")
    response.headers["Link"] = f'<{site.settings.origin}/api/v1{path}?{url.query}>; rel="next"'
    return cursor
