"""The local mailbox in the browser: embedded mode without a relay only."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, Response

from service.delivery.mailbox import Mailbox, MailNotFoundError
from service.delivery.maildir import OpenedMail, StoredMail
from service.web.site import Site

MAIL_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox allow-popups"
)
"""For a mail in a frame: its own styles may apply; nothing may load or run."""


def routes(site: Site) -> APIRouter:
    router = APIRouter()

    def opened(key: str) -> OpenedMail:
        if not site.has_mailbox:
            raise HTTPException(404)
        try:
            return Mailbox.of(site.settings).get(key)
        except MailNotFoundError:
            raise HTTPException(404) from None

    def listed() -> list[StoredMail]:
        if not site.has_mailbox:
            raise HTTPException(404)
        return Mailbox.of(site.settings).messages()

    @router.get("/mailbox")
    def mailbox() -> HTMLResponse:
        return site.page("mailbox.html", {"mails": listed(), "here": "mailbox"})

    @router.get("/mailbox.json")
    def mailbox_json() -> JSONResponse:
        return JSONResponse([_row(mail) for mail in listed()])

    @router.get("/mailbox/{key}.json")
    def mail_json(key: str) -> JSONResponse:
        mail = opened(key)
        content = {"headers": dict(mail.headers), "text": mail.text, "html": mail.html}
        return JSONResponse(_row(mail.mail) | content)

    @router.get("/mailbox/{key}.eml")
    def mail_source(key: str) -> Response:
        return Response(opened(key).source, media_type="text/plain; charset=utf-8")

    @router.get("/mailbox/{key}/html")
    def mail_html(key: str) -> HTMLResponse:
        mail = opened(key)
        if mail.html is None:
            raise HTTPException(404)
        return HTMLResponse(mail.html, headers={"Content-Security-Policy": MAIL_POLICY})

    @router.get("/mailbox/{key}")
    def mail_page(key: str) -> HTMLResponse:
        mail = opened(key)
        values = {"mail": mail.mail, "headers": mail.headers, "text": mail.text, "has_html": mail.html is not None}
        return site.page("mail.html", values | {"here": "mailbox"})

    return router


def _row(mail: StoredMail) -> dict[str, Any]:
    return {
        "key": mail.key,
        "from": mail.sender,
        "to": mail.recipient,
        "subject": mail.subject,
        "received_at": mail.received_at.isoformat(),
    }
