"""Subscribe, confirm, change, leave. GETs show a button; only POSTs act, so mail scanners change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from service.database.tables import ReaderState
from service.doorbell import Task, doorbell
from service.subscribers import accounts, consent, interests, schedule
from service.subscribers.accounts import AccountError, ReaderView, Signup
from service.subscribers.consent import Visit
from service.subscribers.tokens import ExpiredToken, Purpose, TokenError
from service.web import forms, previewing
from service.web.forms import InterestForm
from service.web.previewing import PreviewView
from service.web.site import Site, visit

_NO_SUCH_READER: Final = "This subscription does not exist any more."


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/subscribe")
    def subscribe_form(
        topic: Annotated[list[str] | None, Query()] = None, query: Annotated[list[str] | None, Query()] = None
    ) -> HTMLResponse:
        known = [each.slug for each in site.catalogue.topics()]
        form = InterestForm(
            topics=tuple(slug for slug in topic or () if slug in known),
            queries="\n".join(each.replace("\n", " ") for each in query or ())[:4000],
            limit=site.settings.paper_limit,
        )
        return _subscribe_page(site, form, [])

    @router.post("/subscribe")
    async def subscribe(request: Request) -> HTMLResponse:
        form = forms.read(await request.form(max_fields=400), site.settings)
        if form.preview:
            return await run_in_threadpool(lambda: _subscribe_page(site, form, [], previewing.view(site, form)))
        return await run_in_threadpool(_subscribe, site, form, visit(request))

    @router.get("/confirm/{token}")
    def confirm_button(token: str) -> HTMLResponse:
        def page(reader: ReaderView) -> HTMLResponse:
            if reader.state == ReaderState.UNSUBSCRIBED:
                return _gone(site)
            lines = (f"Send new papers to {reader.email}, at {reader.hour:02d}:00 {reader.timezone}?",)
            values = {"heading": "One click more", "lines": lines, "button": consent.CONFIRM_WORDING}
            return site.page("act.html", values)

        return _for_reader(site, Purpose.CONFIRM, token, page)

    @router.post("/confirm/{token}")
    def confirm(request: Request, token: str) -> HTMLResponse:
        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                confirmed = accounts.confirm(session, site.settings, reader.id, visit(request))
            preferences = site.links.token(Purpose.PREFERENCES, confirmed.id)
            return _preferences_page(site, confirmed, preferences, _stored(site, confirmed), [], confirmed=True)

        return _for_reader(site, Purpose.CONFIRM, token, act)

    @router.get("/preferences/{token}")
    def preferences_form(token: str) -> HTMLResponse:
        return _for_reader(
            site,
            Purpose.PREFERENCES,
            token,
            lambda reader: _preferences_page(site, reader, token, _stored(site, reader), []),
        )

    @router.post("/preferences/{token}")
    async def preferences(request: Request, token: str) -> HTMLResponse:
        form = forms.read(await request.form(max_fields=400), site.settings)
        return await run_in_threadpool(
            _for_reader, site, Purpose.PREFERENCES, token, lambda reader: _change(site, reader, token, form)
        )

    @router.get("/unsubscribe/{token}")
    def unsubscribe_button(token: str) -> HTMLResponse:
        def page(reader: ReaderView) -> HTMLResponse:
            if reader.state == ReaderState.UNSUBSCRIBED:
                return _left(site)
            lines = (f"No more mails to {reader.email}?",)
            values = {"heading": "Unsubscribe", "lines": lines, "button": consent.UNSUBSCRIBE_WORDING}
            return site.page("act.html", values)

        return _for_reader(site, Purpose.UNSUBSCRIBE, token, page)

    @router.post("/unsubscribe/{token}")
    def unsubscribe(request: Request, token: str) -> Response:
        """The button, and one-click unsubscribe (RFC 8058): no cookie, no redirect, whatever the body."""

        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                accounts.unsubscribe(session, site.settings, reader.id, visit(request))
            return _left(site)

        return _for_reader(site, Purpose.UNSUBSCRIBE, token, act)

    return router


def _subscribe(site: Site, form: InterestForm, came_from: Visit) -> HTMLResponse:
    with site.database.transaction() as session:
        meaning = forms.understood(session, form, with_address=True)
    if meaning.errors:
        return _subscribe_page(site, form, meaning.errors)
    if not form.trapped:
        signup = Signup(
            email=form.email,
            wishes=meaning.wishes,
            preferences=meaning.preferences,
            visit=came_from,
            wording=consent.SUBSCRIBE_WORDING,
        )
        try:
            with site.database.transaction() as session:
                accounts.subscribe(session, site.settings, signup)
        except forms.FORM_ERRORS as error:
            return _subscribe_page(site, form, [str(error)])
        doorbell(site.settings).ring(Task.SEND_DUE)
    # The same for every address, known or not, and for the trapped.
    mailbox = (("Open the mailbox", "/mailbox"),) if site.has_mailbox else ()
    return site.message(
        "Check your inbox",
        "A mail is on its way to you. It holds a link; open it to go on.",
        "Nothing came within a few minutes? Look into the spam folder, or try again.",
        links=(*mailbox, ("Back to the papers", "/")),
    )


def _change(site: Site, reader: ReaderView, token: str, form: InterestForm) -> HTMLResponse:
    if form.preview:
        return _preferences_page(site, reader, token, form, [], preview=previewing.view(site, form))
    with site.database.transaction() as session:
        meaning = forms.understood(session, form, with_address=False)
    if not meaning.errors:
        try:
            with site.database.transaction() as session:
                reader = accounts.update(session, reader.id, site.settings, meaning.preferences)
                interests.replace(session, reader.id, meaning.wishes)
        except forms.FORM_ERRORS as error:
            meaning.errors.append(str(error))
    if meaning.errors:
        return _preferences_page(site, reader, token, form, meaning.errors)
    return _preferences_page(site, reader, token, _stored(site, reader), [], saved=True)


def _for_reader(site: Site, purpose: Purpose, token: str, page: Callable[[ReaderView], HTMLResponse]) -> HTMLResponse:
    """The page for the reader whom a link names; a clear one where it names nobody."""
    again = (("Subscribe page", "/subscribe"),)
    try:
        reader_id = site.links.read(purpose, token)
    except ExpiredToken as error:
        return site.message("This link has expired", str(error), links=again, status=410)
    except TokenError as error:
        return site.message("This link is not valid", str(error), links=again, status=404)
    with site.database.transaction() as session:
        reader = accounts.get(session, reader_id)
    if reader is None:
        return _gone(site)
    try:
        return page(reader)
    except AccountError as error:
        return site.message("That is not possible", str(error), links=again, status=410)


def _gone(site: Site) -> HTMLResponse:
    again = (("Subscribe again", "/subscribe"),)
    return site.message("Nothing here", _NO_SUCH_READER, links=again, status=410)


def _left(site: Site) -> HTMLResponse:
    return site.message(
        "You are unsubscribed",
        "No more mails will come. A mail that is being sent this very second may still arrive.",
        "Was it too much? You can subscribe again with fewer topics or on fewer days.",
        links=(("Subscribe differently", "/subscribe"),),
    )


def _subscribe_page(
    site: Site, form: InterestForm, errors: list[str], preview: PreviewView | None = None
) -> HTMLResponse:
    values = {
        "form": form,
        "preview": preview,
        "errors": errors,
        "catalogue": site.catalogue,
        "timezones": sorted(schedule.timezones()),
        "wording": consent.SUBSCRIBE_WORDING,
        "here": "subscribe",
    }
    return site.page("subscribe.html", values, status=400 if errors else 200)


def _preferences_page(
    site: Site,
    reader: ReaderView,
    token: str,
    form: InterestForm,
    errors: list[str],
    *,
    saved: bool = False,
    confirmed: bool = False,
    preview: PreviewView | None = None,
) -> HTMLResponse:
    slot = reader.next_digest_at.astimezone(ZoneInfo(reader.timezone)) if reader.next_digest_at else None
    values = {
        "reader": reader,
        "token": token,
        "form": form,
        "errors": errors,
        "saved": saved,
        "confirmed": confirmed,
        "preview": preview,
        "catalogue": site.catalogue,
        "timezones": sorted(schedule.timezones() | {reader.timezone}),
        "next_slot": f"{slot:%A}, {slot.day} {slot:%B}, {slot:%H:%M} ({reader.timezone})" if slot else "",
        "unsubscribe_url": f"/unsubscribe/{site.links.token(Purpose.UNSUBSCRIBE, reader.id)}",
    }
    return site.page("preferences.html", values, status=400 if errors else 200)


def _stored(site: Site, reader: ReaderView) -> InterestForm:
    """The form as the database would fill it."""
    with site.database.transaction() as session:
        held = interests.of(session, reader.id)
    typed = [each for each in held if each.topic_slug is None]
    return InterestForm(
        email=reader.email,
        topics=tuple(each.topic_slug for each in held if each.topic_slug is not None),
        queries="\n".join(_as_typed(each) for each in typed if not each.muted),
        muted="\n".join(_as_typed(each) for each in typed if each.muted),
        hour=reader.hour,
        timezone=reader.timezone,
        timezone_chosen=True,
        weekdays=reader.weekdays,
        limit=reader.paper_limit,
    )


def _as_typed(interest: interests.InterestView) -> str:
    """What the reader wrote; the canonical text where the label had to be cut."""
    return interest.canonical if interest.label.endswith("…") else interest.label
