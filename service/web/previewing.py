"""What would have come: shown while topics are chosen or a query is typed. Nothing is stored, no address is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Final

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from service import translation
from service.digests.evidence import Readings
from service.matching import language, marking, preview
from service.matching.expression import Expression, Text, terms
from service.matching.language import QueryError
from service.matching.marking import Piece
from service.matching.preview import DayCount, NameCount, Wanted
from service.papers.archive import PaperView
from service.subscribers import interests
from service.subscribers.catalogue import Catalogue
from service.translation import gettext as _
from service.translation import ngettext, number
from service.web import forms
from service.web.forms import InterestForm
from service.web.site import Site

_EXCERPT: Final = 220
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A paper that would have come, as a page shows it."""

    paper: PaperView
    title: Sequence[Piece]
    excerpt: Sequence[Piece]
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class DayBar:
    day: date
    iso: str
    named: str
    """The day in words."""
    papers: int
    share: int
    """Of the fullest day, in hundredths: the height of its bar."""


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
    days: Sequence[DayBar]
    examples: Sequence[ExampleView]


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.post("/preview")
    async def fragment(request: Request) -> HTMLResponse:
        """A piece of a page. Posted, so that what is typed stands in no address; changes nothing."""
        form = forms.read(await request.form(max_fields=400), site.settings)
        return await to_thread.run_sync(_fragment, site, form, limiter=site.previews_at_once)

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


def _fragment(site: Site, form: InterestForm) -> HTMLResponse:
    return site.page("preview.html", {"preview": view(site, form)})


def view(site: Site, form: InterestForm) -> PreviewView:
    """The preview of what a form asks for. What is not understood is told, the rest is shown."""
    known = site.catalogue
    wanted, errors = _wanted(known, form)
    topics = len([slug for slug in form.topics if known.find(slug)])
    made = preview.preview(site.archive, wanted)
    papers = site.readings.of([example.paper_id for example in made.examples])
    examples = [
        _example(papers[example.paper_id], [wanted[position] for position in example.by])
        for example in made.examples
        if example.paper_id in papers
    ]
    return PreviewView(
        asked=any(not each.muted for each in wanted),
        errors=errors,
        explained=[(each.label, language.explain(each.expression)) for each in wanted[topics:] if not each.muted],
        notes=[said(name) for name in made.names],
        total=made.total,
        days=_bars(made.days),
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
            wanted.append(Wanted(topic.name, _topic(topic.query)))
    for text, muted in ((form.queries, False), (form.muted, True)):
        for line in [" ".join(each.split()) for each in text.splitlines() if each.strip()][: interests.MOST]:
            try:
                wanted.append(Wanted(line, language.parse(line), muted))
            except QueryError as error:
                errors.append(f"“{line[:80]}”: {error}")
    return wanted[: interests.MOST], errors


@lru_cache(maxsize=1_000)
def _topic(query: str) -> Expression:
    return language.parse(query)


def _example(paper: Readings, by: Sequence[Wanted]) -> ExampleView:
    words = list(dict.fromkeys(term for each in by for term in terms(each.expression)))
    in_title = marking.found(paper.title, marking.in_field(words, "title"))
    in_abstract = marking.found(paper.abstract, marking.in_field(words, "abstract"))
    return ExampleView(
        paper=paper.paper,
        title=marking.pieces(paper.title.text, in_title),
        excerpt=marking.excerpt(paper.abstract.text, in_abstract, _EXCERPT),
        reasons=[each.label for each in by][:_NAMED],
    )


def excerpt(abstract: str, words: Sequence[Text]) -> list[Piece]:
    """The abstract around the first word that matched."""
    places = marking.found(marking.read(abstract), marking.in_field(words, "abstract"))
    return marking.excerpt(abstract, places, _EXCERPT)


def _bars(days: Sequence[DayCount]) -> list[DayBar]:
    most = max((each.papers for each in days), default=0)
    language = translation.current().tag
    return [
        DayBar(each.day, *_named(each.day, language), each.papers, each.papers * 100 // most if most else 0)
        for each in days
    ]


@lru_cache(maxsize=1_000)
def _named(day: date, _language: str) -> tuple[str, str]:
    """Thirty in each preview, and the same thirty in all of them of one language: the one being spoken."""
    return day.isoformat(), translation.day(day, "short")
