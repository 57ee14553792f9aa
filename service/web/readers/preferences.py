"""The preference centre: by the link in every mail, or signed in (``account``). GETs only show; a POST changes.

The link changes what is mailed and when. Whatever could harm a reader whose mail was passed on wants a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from service import translation
from service.database.tables import ReaderState
from service.digests import history
from service.doorbell import Task, doorbell
from service.subscribers import accounts, interests, schedule, sign_in
from service.subscribers.accounts import ReaderView
from service.subscribers.tokens import Purpose
from service.translation import gettext as _
from service.web.papers import previewing
from service.web.papers.previewing import PreviewView
from service.web.readers import named
from service.web.serving import forms
from service.web.serving.forms import InterestForm
from service.web.site import Site


@dataclass(frozen=True, slots=True)
class Door:
    """How a reader came in."""

    base: str
    """The path that the pages of their preferences begin with."""
    signed_in: bool


def by_link(token: str) -> Door:
    return Door(f"/preferences/{token}", signed_in=False)


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/preferences/{token}")
    def preferences_form(token: str) -> HTMLResponse:
        return named.reader(
            site,
            Purpose.PREFERENCES,
            token,
            lambda reader: page(site, reader, by_link(token), stored(site, reader), []),
        )

    @router.post("/preferences/{token}")
    async def preferences(request: Request, token: str) -> HTMLResponse:
        form = forms.read(await request.form(max_fields=900), site.settings)
        return await run_in_threadpool(
            named.reader,
            site,
            Purpose.PREFERENCES,
            token,
            lambda reader: change(site, reader, by_link(token), form),
        )

    @router.get("/preferences/{token}/digests")
    def digests(token: str) -> HTMLResponse:
        return named.reader(site, Purpose.PREFERENCES, token, lambda reader: history_page(site, reader, by_link(token)))

    @router.post("/preferences/{token}/sign-in")
    def mail_link(token: str) -> HTMLResponse:
        """The link goes to the reader's address, whoever asks."""

        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                sign_in.request(session, site.settings, reader.id)
            doorbell(site.settings).ring(Task.SEND_DUE)
            return link_is_coming(site)

        return named.reader(site, Purpose.PREFERENCES, token, act)

    return router


def change(site: Site, reader: ReaderView, door: Door, form: InterestForm) -> HTMLResponse:
    """Save what a form says, all of it or nothing."""
    if form.preview:
        return page(site, reader, door, form, [], preview=previewing.view(site, form))
    with site.database.transaction() as session:
        meaning = forms.understood(session, form, with_address=False)
    if not meaning.errors:
        try:
            with site.database.transaction() as session:
                reader = accounts.update(session, reader.id, site.settings, meaning.preferences)
                interests.replace(session, reader.id, meaning.wishes)
                interests.tune(session, reader.id, form.tunings)
        except forms.FORM_ERRORS as error:
            meaning.errors.append(str(error))
    if meaning.errors:
        return page(site, reader, door, form, meaning.errors)
    translation.speak(translation.of(reader.language))
    return page(site, reader, door, stored(site, reader), [], saved=True)


def page(
    site: Site,
    reader: ReaderView,
    door: Door,
    form: InterestForm,
    errors: list[str],
    *,
    saved: bool = False,
    confirmed: bool = False,
    preview: PreviewView | None = None,
) -> HTMLResponse:
    with site.database.transaction() as session:
        held = interests.of(session, reader.id)
    preferences = site.links.token(Purpose.PREFERENCES, reader.id)
    values = {
        "reader": reader,
        "door": door,
        "form": form,
        "held": held,
        "errors": errors,
        "saved": saved,
        "confirmed": confirmed,
        "preview": preview,
        "catalogue": site.catalogue,
        "timezones": sorted({*schedule.listed(), reader.timezone}),
        "next_mail": _next_mail(reader),
        "learned_url": f"/preferences/{preferences}/learned",
        "unsubscribe_url": f"/unsubscribe/{site.links.token(Purpose.UNSUBSCRIBE, reader.id)}",
    }
    return site.page("preferences.html", values, status=400 if errors else 200)


def stored(site: Site, reader: ReaderView) -> InterestForm:
    with site.database.transaction() as session:
        return forms.stored(reader, interests.of(session, reader.id))


def history_page(site: Site, reader: ReaderView, door: Door) -> HTMLResponse:
    with site.database.transaction() as session:
        past = history.of(session, reader.id)
    zone = schedule.zone(reader.timezone)
    digests = [
        {
            "day": each.slot.astimezone(zone),
            "papers": each.papers,
            "url": f"/digest/{site.links.token(Purpose.DIGEST, each.id)}",
        }
        for each in past
    ]
    return site.page("history.html", {"door": door, "digests": digests})


def link_is_coming(site: Site) -> HTMLResponse:
    """The same whether or not an address is subscribed."""
    mailbox = ((_("Open the mailbox"), "/mailbox"),) if site.has_mailbox else ()
    return site.message(
        _("Check your inbox"),
        _("If this address is subscribed, a mail with a link is on its way. It works once, within an hour."),
        _(
            "Nothing came within a few minutes? Look into the spam folder; a new link can be asked for after ten"
            " minutes."
        ),
        links=(*mailbox, (_("Back to the papers"), "/")),
    )


def _next_mail(reader: ReaderView) -> str:
    if reader.state != ReaderState.ACTIVE or reader.next_digest_at is None:
        return _("You get no mails.")
    slot = reader.next_digest_at.astimezone(ZoneInfo(reader.timezone))
    said = f"{translation.day(slot)}, {slot:%H:%M} ({reader.timezone})"
    if reader.paused_until is not None:
        return _("Your mails are paused; the next one may come on %(when)s.", when=said)
    if reader.first_is_coming:
        return _("Your first mail comes in a minute, if there is something on your topics.")
    return _("Next mail: %(when)s, if there is something new.", when=said)
