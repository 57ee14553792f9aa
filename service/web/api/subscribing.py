"""Subscribing, and tokens by mail: open to all, so the answers are the same whether an address is a reader's or not."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from service.doorbell import Task, doorbell
from service.subscribers import access, accounts, addresses, consent
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.tokens import TokenError
from service.web.api.preferences import wishes
from service.web.api.shapes import CodeIn, EmailIn, SaidOut, SubscriptionIn, TokenOut
from service.web.site import Site, visit


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["subscription"])

    @router.post("/subscriptions", status_code=202)
    def subscribe(request: Request, wanted: SubscriptionIn) -> SaidOut:
        """Subscribe an address. Nothing is sent to it but a mail that asks for its consent."""
        address = addresses.parse(wanted.email)
        came_from = visit(request)
        if site.limits.throw_away(address.domain):
            raise HTTPException(400, f"{address.domain} gives out throw-away addresses: use a lasting one")
        _count(site, came_from.ip, address.domain)
        with site.database.transaction() as session:
            signup = Signup(
                email=wanted.email,
                wishes=wishes(session, wanted),
                preferences=Preferences(wanted.hour, wanted.timezone, wanted.weekdays, wanted.paper_limit),
                visit=came_from,
                wording=consent.SUBSCRIBE_WORDING,
            )
            accounts.subscribe(session, site.settings, signup)
        doorbell(site.settings).ring(Task.SEND_DUE)
        return SaidOut(detail="A mail is on its way to the address. It holds a link; open it to go on.")

    @router.post("/tokens", status_code=202)
    def mail_code(request: Request, wanted: EmailIn) -> SaidOut:
        """Send a code for a token to the address, if it is a reader's. At most one an hour and three a day."""
        address = addresses.parse(wanted.email)
        _count(site, visit(request).ip, address.domain)
        with site.database.transaction() as session:
            accounts.sign_in(session, site.settings, wanted.email)
        doorbell(site.settings).ring(Task.SEND_DUE)
        return SaidOut(detail="If the address is a reader’s, a mail with a code is on its way.")

    @router.post("/tokens/exchange", status_code=201)
    def exchange_code(response: Response, wanted: CodeIn) -> TokenOut:
        """A token for a mailed code. A code works once, within a day; a token for 90 days."""
        try:
            with site.database.transaction() as session:
                given = access.exchange(session, site.links, wanted.code.rpartition("/")[2])
        except TokenError as error:
            raise HTTPException(400, str(error)) from None
        response.headers["Cache-Control"] = "no-store"
        return TokenOut(token=given.token, expires_at=given.expires_at)

    return router


def _count(site: Site, address: str | None, domain: str) -> None:
    verdict = site.limits.signup(address, domain)
    if not verdict.allowed:
        detail = "too many requests from your network or to this mail provider: try again later"
        raise HTTPException(429, detail, {"Retry-After": str(verdict.reset_seconds)})
