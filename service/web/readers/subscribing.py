"""Subscribe, confirm, leave. GETs show a button; only POSTs act, so mail scanners change nothing."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from service.database.tables import ReaderState
from service.doorbell import Task, doorbell
from service.subscribers import accounts, addresses, consent, schedule
from service.subscribers.accounts import Less, ReaderView, Signup
from service.subscribers.consent import Visit
from service.subscribers.tokens import Purpose
from service.translation import gettext as _
from service.translation import later
from service.web.papers import previewing
from service.web.papers.previewing import PreviewView
from service.web.readers import named, preferences
from service.web.readers.liked import Liked, into_queries
from service.web.serving import forms
from service.web.serving.forms import InterestForm
from service.web.site import Site, visit

_ONCE_MORE: Final = later(
    "That was quicker than a person types, or the page had been open for long. Please send it once more."
)


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_subscribing(router, site)
    _add_confirming(router, site)
    _add_leaving(router, site)
    return router


def _add_subscribing(router: APIRouter, site: Site) -> None:
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
        if form.likes or form.liked.strip() or form.alike:
            return await run_in_threadpool(_look_at_likes, site, form)
        if form.preview:
            return await run_in_threadpool(lambda: _subscribe_page(site, form, [], previewing.view(site, form)))
        return await run_in_threadpool(_subscribe, site, form, visit(request))


def _add_confirming(router: APIRouter, site: Site) -> None:
    @router.get("/confirm/{token}")
    def confirm_button(token: str) -> HTMLResponse:
        def page(reader: ReaderView) -> HTMLResponse:
            if reader.state == ReaderState.UNSUBSCRIBED:
                return named.gone(site)
            lines = (
                _(
                    "Send new papers to %(email)s, at %(hour)s (%(timezone)s)?",
                    email=reader.email,
                    hour=f"{reader.hour:02d}:00",
                    timezone=reader.timezone,
                ),
            )
            values = {"heading": _("One click more"), "lines": lines, "button": _(consent.CONFIRM_WORDING)}
            return site.page("act.html", values)

        return named.reader(site, Purpose.CONFIRM, token, page)

    @router.post("/confirm/{token}")
    def confirm(request: Request, token: str) -> HTMLResponse:
        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                confirmed = accounts.confirm(session, site.settings, reader.id, visit(request))
            # The planner and the sender find the work by themselves; the ring spares the reader half a minute.
            doorbell(site.settings).ring(Task.PLAN_DUE)
            doorbell(site.settings).ring(Task.SEND_DUE)
            door = preferences.by_link(site.links.token(Purpose.PREFERENCES, confirmed.id))
            form = preferences.stored(site, confirmed)
            return preferences.page(site, confirmed, door, form, [], confirmed=True)

        return named.reader(site, Purpose.CONFIRM, token, act)


def _add_leaving(router: APIRouter, site: Site) -> None:
    @router.get("/unsubscribe/{token}")
    def unsubscribe_button(token: str) -> HTMLResponse:
        def page(reader: ReaderView) -> HTMLResponse:
            if reader.state == ReaderState.UNSUBSCRIBED:
                return site.page("left.html", {"less": None})
            lines = (_("No more mails to %(email)s?", email=reader.email),)
            values = {"heading": _("Unsubscribe"), "lines": lines, "button": _(consent.UNSUBSCRIBE_WORDING)}
            return site.page("act.html", values)

        return named.reader(site, Purpose.UNSUBSCRIBE, token, page)

    @router.post("/unsubscribe/{token}")
    def unsubscribe(request: Request, token: str) -> Response:
        """The button, and one-click unsubscribe (RFC 8058): no cookie, no redirect, whatever the body."""

        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                accounts.unsubscribe(session, site.settings, reader.id, visit(request))
            return _left(site, reader)

        return named.reader(site, Purpose.UNSUBSCRIBE, token, act)

    @router.post("/less/{token}")
    def less(request: Request, token: str, how: Annotated[Less, Form()]) -> HTMLResponse:
        """Offered on the page that says that one has left, and nowhere else."""

        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                back = accounts.come_back(session, site.settings, reader.id, how, visit(request))
            weekly = _("You get one mail a week.")
            said = weekly if how is Less.WEEKLY else _("You get nothing for a month, then as before.")
            return site.message(
                _("Less, then"),
                said,
                links=((_("See all preferences"), f"/preferences/{site.links.token(Purpose.PREFERENCES, back.id)}"),),
            )

        return named.reader(site, Purpose.LESS, token, act)


def _look_at_likes(site: Site, form: InterestForm) -> HTMLResponse:
    """Whichever button was pressed: what is made of the papers is shown before it is taken up."""
    fresh, liked = into_queries(site, form)
    return _subscribe_page(site, fresh, [], previewing.view(site, fresh), liked=liked)


def _subscribe(site: Site, form: InterestForm, came_from: Visit) -> HTMLResponse:
    with site.database.transaction() as session:
        meaning = forms.understood(session, form, with_address=True)
    if meaning.errors:
        return _subscribe_page(site, form, meaning.errors)
    if site.limits.too_soon(form.stamp):
        return _subscribe_page(site, form, [_(_ONCE_MORE)])
    if not form.trapped:
        address = addresses.parse(form.email)
        if site.limits.throw_away(address.domain):
            return _subscribe_page(
                site, form, [_("%(domain)s gives out throw-away addresses: use a lasting one", domain=address.domain)]
            )
        verdict = site.limits.signup(came_from.ip, address.domain)
        if not verdict.allowed:
            return _busy(site, verdict.reset_seconds)
        signup = Signup(
            email=form.email,
            wishes=meaning.wishes,
            preferences=meaning.preferences,
            visit=came_from,
            wording=site.wording,
        )
        try:
            with site.database.transaction() as session:
                accounts.subscribe(session, site.settings, signup)
        except forms.FORM_ERRORS as error:
            return _subscribe_page(site, form, [str(error)])
        doorbell(site.settings).ring(Task.SEND_DUE)
    # The same for every address, known or not, and for the trapped.
    mailbox = ((_("Open the mailbox"), "/mailbox"),) if site.has_mailbox else ()
    return site.message(
        _("Check your inbox"),
        _("A mail is on its way to you. It holds a link; open it to go on."),
        _("Nothing came within a few minutes? Look into the spam folder, or try again."),
        links=(*mailbox, (_("Back to the papers"), "/")),
    )


def _busy(site: Site, seconds: int) -> HTMLResponse:
    answer = site.message(
        _("Too many sign-ups"),
        _("Too many sign-ups came from your network, or to your mail provider, within the last hour."),
        _("Nothing is wrong with your address. Please try again later."),
        status=429,
    )
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _left(site: Site, reader: ReaderView) -> HTMLResponse:
    """It has happened; only now less is offered, to a reader who had confirmed."""
    less = site.links.token(Purpose.LESS, reader.id) if reader.confirmed_at is not None else None
    return site.page("left.html", {"less": less})


def _subscribe_page(
    site: Site,
    form: InterestForm,
    errors: list[str],
    preview: PreviewView | None = None,
    *,
    liked: Liked | None = None,
) -> HTMLResponse:
    values = {
        "form": form,
        "preview": preview,
        "liked": liked,
        "errors": errors,
        "catalogue": site.catalogue,
        "timezones": sorted({*schedule.listed(), form.timezone}),
        "wording": site.wording,
        "here": "subscribe",
    }
    return site.page("subscribe.html", values, status=400 if errors else 200)
