"""Who a request's bearer token stands for (RFC 6750)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.subscribers import access

_BEARER = HTTPBearer(auto_error=False, description="A token from ``/tokens/exchange``.")
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="Paperround"'}

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def signed_in(request: Request, credentials: Credentials) -> int:
    """The id of the token's reader. Raises 401."""
    with request.app.state.site.database.transaction() as session:
        reader = access.reader_of(session, credentials.credentials) if credentials else None
    if reader is None:
        raise HTTPException(401, "a valid bearer token is needed: POST /tokens sends a code by mail", CHALLENGE)
    return reader


SignedIn = Annotated[int, Depends(signed_in)]
