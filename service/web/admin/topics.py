"""The topics' editor: what each finds while it is typed, who follows it, and what the file says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from anyio import to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from service.database.tables import OperatorRole
from service.matching import language
from service.matching.language import QueryError
from service.operators import audit
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.subscribers.topics import catalogue, edits
from service.subscribers.topics.catalogue import CatalogueError, TopicEntry
from service.subscribers.topics.edits import TopicView
from service.web.admin.desk import Csrf, Desk, Done, Refused
from service.web.papers import previewing
from service.web.papers.previewing import PreviewView
from service.web.serving.forms import InterestForm
from service.web.site import Site

_PATH: Final = "/admin/topics"
_NEW: Final = TopicEntry("", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Tried:
    """What a query finds, or where it is wrong."""

    preview: PreviewView | None
    error: str
    caret: str | None
    """The query with a mark below the place."""


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)
    _add_pages(router, desk)
    _add_acts(router, desk)
    return router


def tried(site: Site, query: str) -> Tried:
    """A query over the papers of the last days, as readers' own previews look at them. Lines are one query."""
    typed = " ".join(query.split())
    if not typed:
        return Tried(previewing.view(site, InterestForm()), "", None)
    try:
        language.parse(typed)
    except QueryError as error:
        return Tried(None, str(error), None if error.column is None else f"{typed}\n{' ' * error.column}^")
    return Tried(previewing.view(site, InterestForm(queries=typed)), "", None)


def _form(
    desk: Desk,
    request: Request,
    seat: Seat,
    entry: TopicEntry,
    view: TopicView | None,
    errors: tuple[str, ...] = (),
    status: int = 200,
) -> Response:
    """``view`` is None for a topic that there is not yet."""
    groups = list(dict.fromkeys(group.name for group in desk.site.catalogue.groups))
    values = {"entry": entry, "view": view, "errors": errors, "groups": groups, "tried": tried(desk.site, entry.query)}
    return desk.page(request, seat, "topic.html", values, status=status)


def _add_pages(router: APIRouter, desk: Desk) -> None:
    @router.get(_PATH)
    def listed(request: Request) -> Response:
        def page(seat: Seat) -> Response:
            with desk.site.database.transaction() as session:
                views = edits.listing(session)
            archives = sum(len(group.topics) for group in catalogue.load().archives)
            return desk.page(request, seat, "topics.html", {"topics": views, "archives": archives})

        return desk.see(request, page)

    @router.get(f"{_PATH}/new")
    def new(request: Request) -> Response:
        return desk.see(request, lambda seat: _form(desk, request, seat, _NEW, None), OperatorRole.EDITOR)

    @router.get(f"{_PATH}/edit/{{slug}}")
    def edit(request: Request, slug: str) -> Response:
        def page(seat: Seat) -> Response:
            try:
                with desk.site.database.transaction() as session:
                    view = edits.find(session, slug)
            except CatalogueError as error:
                return desk.said(request, seat, "No such topic", f"{error}.", status=404)
            return _form(desk, request, seat, view.entry, view)

        return desk.see(request, page)

    @router.post(f"{_PATH}/try")
    async def live(request: Request, csrf: Csrf = "", query: Annotated[str, Form()] = "") -> Response:
        """A piece of a page, while somebody types. Posted, as queries are long; changes nothing."""

        def page(seat: Seat) -> Response:
            return desk.page(request, seat, "tried.html", {"tried": tried(desk.site, query)})

        def looked() -> Response:
            return desk.posted(request, csrf, OperatorRole.VIEWER, page)

        return await to_thread.run_sync(looked, limiter=desk.site.previews_at_once)


def _add_acts(router: APIRouter, desk: Desk) -> None:
    @router.post(f"{_PATH}/save")
    def save(
        request: Request,
        *,
        csrf: Csrf = "",
        slug: Annotated[str, Form()] = "",
        name: Annotated[str, Form()] = "",
        description: Annotated[str, Form()] = "",
        group: Annotated[str, Form()] = "",
        query: Annotated[str, Form()] = "",
        new: Annotated[str, Form()] = "",
        only: Annotated[str, Form()] = "",
    ) -> Response:
        """Saves, or shows what the query finds (``only``). What was typed stays on the page with what is wrong."""
        entry = TopicEntry(*(each.replace("\x00", "") for each in (slug, name, description, group, query)))

        def handle(seat: Seat) -> Response:
            view = None
            try:
                with desk.site.database.transaction() as session:
                    view = None if new else edits.find(session, entry.slug)
                if only:
                    return _form(desk, request, seat, entry, view)
                with desk.site.database.transaction() as session:
                    line = _saved(session, seat, entry, view)
            except QueryError:
                # The column stands beside the query.
                return _form(desk, request, seat, entry, view, status=400)
            except CatalogueError as error:
                return _form(desk, request, seat, entry, view, (str(error),), status=400)
            return RedirectResponse(f"{_PATH}?done={line}", 303)

        return desk.posted(request, csrf, OperatorRole.VIEWER if only else OperatorRole.EDITOR, handle)

    @router.post(f"{_PATH}/retire")
    def retire(request: Request, csrf: Csrf = "", slug: Annotated[str, Form()] = "") -> Response:
        def act(session: Session, _seat: Seat) -> Done:
            try:
                view = edits.find(session, slug)
                edits.retire(session, slug)
            except CatalogueError as error:
                raise Refused(str(error)) from error
            return Done(Act.TOPIC_RETIRED, f"topic {view.entry.slug}", f"followers: {view.followers}", to=_PATH)

        return desk.act(request, csrf, OperatorRole.EDITOR, act)

    @router.post(f"{_PATH}/as-shipped")
    def as_shipped(request: Request, csrf: Csrf = "", slug: Annotated[str, Form()] = "") -> Response:
        def act(session: Session, _seat: Seat) -> Done:
            try:
                before = edits.find(session, slug).entry
                edits.as_shipped(session, slug)
            except CatalogueError as error:
                raise Refused(str(error)) from error
            return Done(Act.TOPIC_AS_SHIPPED, f"topic {before.slug}", f"query was {before.query}", to=_PATH)

        return desk.act(request, csrf, OperatorRole.EDITOR, act)


def _saved(session: Session, seat: Seat, entry: TopicEntry, view: TopicView | None) -> int:
    """In one transaction the topic, its followers and the line of the log."""
    if view is None:
        made = edits.add(session, entry)
        return audit.record(session, seat.operator_id, Act.TOPIC_ADDED, f"topic {made.slug}", f"query {made.query}")
    made = edits.edit(session, entry)
    before = view.entry
    changed = [f"followers: {view.followers}"]
    changed += [f"query was {before.query}"] if before.query != made.query else []
    changed += [f"name was {before.name}"] if before.name != made.name else []
    changed += [f"group was {before.group}"] if before.group != made.group else []
    return audit.record(session, seat.operator_id, Act.TOPIC_EDITED, f"topic {made.slug}", "; ".join(changed))
