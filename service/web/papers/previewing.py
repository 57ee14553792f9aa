"""What would have come: shown while topics are chosen or a query is typed. Nothing is stored, no address is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Final
from urllib.parse import parse_qsl

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import Markup, escape
from sqlalchemy.exc import SQLAlchemyError

from service import translation
from service.matching import language, marking, preview
from service.matching.expression import Text
from service.matching.language import QueryError
from service.matching.marking import Piece
from service.matching.preview import DayCount, NameCount, Wanted
from service.subscribers import interests
from service.subscribers.topics.catalogue import Catalogue
from service.translation import gettext as _
from service.translation import ngettext, number, topical
from service.web import examples as shown
from service.web.examples import ExampleView
from service.web.serving.forms import InterestForm
from service.web.site import Site

_MOST_FIELDS: Final = 400


@dataclass(frozen=True, slots=True)
class PreviewView:
    """A preview with everything a page shows."""

    asked: bool
    """Whether there was anything to look for."""
    errors: Sequence[str]
    explained: Sequence[tuple[str, str]]
    """What was typed, and how it was understood."""
    notes: Sequence[str]
    total: int
    days: Sequence[DayCount]
    bars: Markup
    """The days as a chart of bars."""
    examples: Sequence[ExampleView]


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    async def fragment(request: Request) -> HTMLResponse:
        """A piece of a page. Posted, so that what is typed stands in no address; changes nothing."""
        form = await _asked(request)
        return await to_thread.run_sync(_fragment, site, form, limiter=site.previews_at_once)

    # Asked for at every keystroke, and it takes no parameters: a plain route of Starlette does.
    router.add_route("/preview", fragment, methods=["POST"])

    @router.get("/preview.json")
    def as_json(
        topic: Annotated[list[str] | None, Query()] = None,
        query: Annotated[list[str] | None, Query()] = None,
        muted: Annotated[list[str] | None, Query()] = None,
    ) -> JSONResponse:
        form = InterestForm(topics=topic or (), queries="\n".join(query or ()), muted="\n".join(muted or ()))
        made = view(site, form)
        if made.errors:
            return JSONResponse({"error": "not understood", "detail": list(made.errors)}, 400)
        return JSONResponse(
            {
                "total": made.total,
                "days": [{"day": each.day.isoformat(), "papers": each.papers} for each in made.days],
                "papers": [
                    {"id": each.paper.id, "title": each.paper.title, "reasons": list(each.reasons)}
                    for each in made.examples
                ],
                "notes": list(made.notes),
            }
        )

    return router


async def _asked(request: Request) -> InterestForm:
    """What is looked for, of a form that says nothing else."""
    try:
        body = (await request.body()).decode()
        fields = parse_qsl(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(400) from None
    texts: dict[str, list[str]] = {"topic": [], "queries": [], "muted": []}
    for name, value in fields:
        if name in texts:
            texts[name].append(value.replace("\x00", ""))
    return InterestForm(
        topics=tuple(dict.fromkeys(texts["topic"])),
        queries="\n".join(texts["queries"]),
        muted="\n".join(texts["muted"]),
    )


def _fragment(site: Site, form: InterestForm) -> HTMLResponse:
    return HTMLResponse(site.preview(view(site, form)))


def warm(site: Site) -> None:
    """Find the papers of every topic before anybody ticks it. What fails here fails again, and is told, when somebody
    does."""
    try:
        recent = site.archive.recent(preview.DAYS)
    except SQLAlchemyError:
        return
    if recent is None:
        return
    for topic in site.catalogue.topics():
        recent.search(_understood(topic.name, topic.query, muted=False).expression)


def view(site: Site, form: InterestForm) -> PreviewView:
    """The preview of what a form asks for. What is not understood is told, the rest is shown."""
    known = site.catalogue
    wanted, errors = _wanted(known, form)
    topics = len([slug for slug in form.topics if known.find(slug)])
    made = preview.preview(site.archive, wanted)
    examples = site.examples.of(
        [(example.paper_id, tuple(wanted[position] for position in example.by)) for example in made.examples]
    )
    return PreviewView(
        asked=any(not each.muted for each in wanted),
        errors=errors,
        explained=[(each.label, language.explain(each.expression)) for each in wanted[topics:] if not each.muted],
        notes=[said(name) for name in made.names],
        total=made.total,
        days=made.days,
        bars=_bars(made.days),
        examples=examples,
    )


def said(name: NameCount) -> str:
    """What a reader should know of an author's name."""
    if not name.total:
        return _(
            "No paper here is by “%(name)s”: names are compared whole, so check how it is written.", name=name.name
        )
    said = ngettext(
        "“%(name)s” stands on %(num)s paper here.", "“%(name)s” stands on %(num)s papers here.", name.total,
        name=name.name,
    )  # fmt: skip
    if not name.common:
        return said
    several = _(
        "%(recent)s of them are of the last %(days)s days: likely several people. Add a category or a word to tell them"
        " apart, as in author:… cat:cs.CL.",
        recent=number(name.recent),
        days=preview.DAYS,
    )
    return f"{said} {several}"


def _wanted(known: Catalogue, form: InterestForm) -> tuple[list[Wanted], list[str]]:
    wanted, errors = [], []
    for slug in form.topics[: interests.MOST]:
        topic = known.find(slug)
        if topic is None:
            errors.append(_("there is no topic “%(slug)s”", slug=slug[:64]))
        else:
            wanted.append(_understood(topical(topic.name), topic.query, muted=False))
    for text, muted in ((form.queries, False), (form.muted, True)):
        for line in [" ".join(each.split()) for each in text.splitlines() if each.strip()][: interests.MOST]:
            try:
                wanted.append(_understood(line, line, muted=muted))
            except QueryError as error:
                errors.append(_("“%(words)s”: %(problem)s", words=line[:80], problem=error))
    return wanted[: interests.MOST], errors


@lru_cache(maxsize=2_000)
def _understood(label: str, query: str, *, muted: bool) -> Wanted:
    """The same object for the same words: what it found and what was shown of it is kept by it."""
    return Wanted(label, language.parse(query), muted)


def excerpt(abstract: str, words: Sequence[Text]) -> list[Piece]:
    """The abstract around the first word that matched."""
    places = marking.found(marking.read(abstract), marking.in_field(words, "abstract"))
    return marking.excerpt(abstract, places, shown.EXCERPT)


_BAR: Final = (
    '<li><time datetime="{iso}" title="{named}: {papers}"><svg viewBox="0 0 10 100" preserveAspectRatio="none"'
    ' aria-hidden="true"><rect x="1" width="8" y="{top}" height="{share}"/></svg><span class="unseen">{named}: {papers}'
    "</span></time></li>"
)


def _bars(days: Sequence[DayCount]) -> Markup:
    """A bar for each day, as high as its share of the fullest day. Numbers and the names of days only: a template would
    take ten times as long, in every preview."""
    most = max((each.papers for each in days), default=0) or 1
    language = translation.current().tag
    made = []
    for each in days:
        iso, named = _named(each.day, language)
        share = each.papers * 100 // most
        made.append(_BAR.format(iso=iso, named=named, papers=each.papers, top=100 - share, share=share))
    return Markup("".join(made))  # noqa: S704 (no words but those of the calendar)


@lru_cache(maxsize=1_000)
def _named(day: date, _language: str) -> tuple[str, str]:
    """Thirty in each preview, and the same thirty in all of them of one language: the one being spoken."""
    return day.isoformat(), str(escape(translation.day(day, "short")))
