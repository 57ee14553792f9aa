"""Signing in by a mailed link, and what only who is signed in may do: move, take their data, delete everything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from service import translation
from service.doorbell import Task, doorbell
from service.subscribers import accounts, address_change, consent, erasure, personal_data, sign_in
from service.subscribers.accounts import AccountError, ReaderView
from service.subscribers.addresses import AddressError
from service.subscribers.sign_in import Sessions
from service.subscribers.tokens import Purpose
from service.translation import gettext as _
from service.web.readers import named, preferences
from service.web.readers.preferences import Door
from service.web.serving import forms
from service.web.site import Site, visit

COOKIE: Final = "paperround_session"
_PATH: Final = "/account"
DOOR: Final = Door(_PATH, signed_in=True)


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_signing_in(router, site)
    _add_account(router, site)
    _add_moving(router, site)
    return router


def _add_signing_in(router: APIRouter, site: Site) -> None:
    @router.get("/sign-in")
    def ask_form() -> HTMLResponse:
        return site.page("sign_in.html", {"email": "", "errors": []})

    @router.post("/sign-in")
    def ask(email: Annotated[str, Form()] = "") -> HTMLResponse:
        try:
            with site.database.transaction() as session:
                reader = accounts.find(session, email)
                if reader is not None:
                    sign_in.request(session, site.settings, reader.id)
        except AddressError as error:
            return site.page("sign_in.html", {"email": email, "errors": [str(error)]}, status=400)
        doorbell(site.settings).ring(Task.SEND_DUE)
        return preferences.link_is_coming(site)

    @router.get("/sign-in/{token}")
    def button(token: str) -> HTMLResponse:
        values = {"heading": _("Sign in"), "lines": (_("The link in your mail works once."),), "button": _("Sign in")}
        return named.reader(site, Purpose.SIGN_IN, token, lambda _reader: site.page("act.html", values))

    @router.post("/sign-in/{token}")
    def enter(token: str) -> Response:
        def act(reader_id: int) -> HTMLResponse:
            with site.database.transaction() as session:
                sign_in.use(session, site.settings, token)
                cookie = Sessions(site.settings).made(session, reader_id)
            if cookie is None:
                return named.gone(site)
            answer = HTMLResponse(status_code=303, headers={"Location": _PATH})
            answer.set_cookie(
                COOKIE,
                cookie,
                max_age=int(sign_in.SESSION.total_seconds()),
                path=_PATH,
                secure=site.settings.origin.startswith("https://"),
                httponly=True,
                samesite="lax",
            )
            return answer

        return named.thing(site, Purpose.SIGN_IN, token, act)


def _add_account(router: APIRouter, site: Site) -> None:
    @router.get("/account")
    def account(request: Request) -> Response:
        return signed_in(
            site,
            request,
            lambda reader: preferences.page(site, reader, DOOR, preferences.stored(site, reader), []),
        )

    @router.post("/account")
    async def change(request: Request) -> Response:
        form = forms.read(await request.form(max_fields=900), site.settings)
        return await run_in_threadpool(
            signed_in, site, request, lambda reader: preferences.change(site, reader, DOOR, form)
        )

    @router.get("/account/digests")
    def digests(request: Request) -> Response:
        return signed_in(site, request, lambda reader: preferences.history_page(site, reader, DOOR))

    @router.get("/account/data.json")
    def data(request: Request) -> Response:
        def download(reader: ReaderView) -> Response:
            with site.database.transaction() as session:
                document = personal_data.export(session, reader.id)
            name = f"paperround-{datetime.now(UTC):%Y-%m-%d}.json"
            headers = {"Content-Disposition": f'attachment; filename="{name}"'}
            return Response(document, media_type="application/json", headers=headers)

        return signed_in(site, request, download)

    @router.get("/account/delete")
    def delete_button(request: Request) -> Response:
        def page(reader: ReaderView) -> HTMLResponse:
            lines = (
                _("Delete %(email)s with all preferences, interests, words on papers and digests?", email=reader.email),
                _("This cannot be undone. One last mail tells what was deleted."),
            )
            values = {"heading": _("Delete everything"), "lines": lines, "button": _("Delete everything")}
            return site.page("act.html", values)

        return signed_in(site, request, page)

    @router.post("/account/delete")
    def delete(request: Request) -> Response:
        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                erasure.erase(session, site.settings, reader.id, visit(request), goodbye=True)
            doorbell(site.settings).ring(Task.SEND_DUE)
            links = ((_("The day’s papers"), "/"),)
            return _left(site.message(_("Everything is deleted"), _("One last mail tells what it was."), links=links))

        return signed_in(site, request, act)

    @router.post("/account/sign-out")
    def sign_out(request: Request) -> Response:
        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                sign_in.revoke(session, reader.id)
            return _left(
                site.message(_("You are signed out"), _("On every device."), links=((_("The day’s papers"), "/"),))
            )

        return signed_in(site, request, act)


def _add_moving(router: APIRouter, site: Site) -> None:
    def form_page(reader: ReaderView, email: str, errors: list[str]) -> HTMLResponse:
        values = {"reader": reader, "email": email, "errors": errors}
        return site.page("address.html", values, status=400 if errors else 200)

    @router.get("/account/address")
    def address_form(request: Request) -> Response:
        return signed_in(site, request, lambda reader: form_page(reader, "", []))

    @router.post("/account/address")
    def ask_to_move(request: Request, email: Annotated[str, Form()] = "") -> Response:
        def act(reader: ReaderView) -> HTMLResponse:
            try:
                with site.database.transaction() as session:
                    address_change.request(session, site.settings, reader.id, email)
            except (AddressError, AccountError) as error:
                return form_page(reader, email, [str(error)])
            doorbell(site.settings).ring(Task.SEND_DUE)
            return site.message(
                _("Check the new inbox"),
                _("A mail with a link is on its way to the new address. Until it is confirmed nothing changes."),
                links=((_("Back to your account"), _PATH),),
            )

        return signed_in(site, request, act)

    @router.get("/address/{token}")
    def move_button(token: str) -> HTMLResponse:
        def page(change_id: int) -> HTMLResponse:
            with site.database.transaction() as session:
                email = address_change.wished(session, change_id)
            if email is None:
                raise AccountError(_("this change was made or replaced before: sign in to see the address we have"))
            values = {
                "heading": _("Your new address"),
                "lines": (_("Send your papers to %(email)s from now on?", email=email),),
                "button": _(consent.MOVE_WORDING),
            }
            return site.page("act.html", values)

        return named.thing(site, Purpose.ADDRESS, token, page)

    @router.post("/address/{token}")
    def move(request: Request, token: str) -> HTMLResponse:
        def act(change_id: int) -> HTMLResponse:
            with site.database.transaction() as session:
                email = address_change.complete(session, site.settings, change_id, visit(request))
            doorbell(site.settings).ring(Task.SEND_DUE)
            said = _("Your papers come to %(email)s from now on. A note went to the old address.", email=email)
            return site.message(_("Your address is changed"), said, links=((_("Sign in again"), "/sign-in"),))

        return named.thing(site, Purpose.ADDRESS, token, act)


def signed_in(site: Site, request: Request, page: Callable[[ReaderView], Response]) -> Response:
    """The page for who is signed in; the others are asked for their address."""
    with site.database.transaction() as session:
        reader_id = Sessions(site.settings).read(session, request.cookies.get(COOKIE))
        reader = accounts.get(session, reader_id) if reader_id is not None else None
    if reader is None:
        return RedirectResponse("/sign-in", 303)
    translation.speak(translation.of(reader.language))
    try:
        return page(reader)
    except AccountError as error:
        return site.message(_("That is not possible"), str(error), links=named.again(), status=410)


def _left(answer: HTMLResponse) -> HTMLResponse:
    answer.delete_cookie(COOKIE, path=_PATH)
    return answer
