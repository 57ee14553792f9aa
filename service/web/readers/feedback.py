"""A digest on its page, a reader's word on its papers, what was learned from it, and more like a paper.

Links in mails are opened by scanners too, so a GET only shows; a POST acts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from service.digests import rest
from service.digests.rest import Matched
from service.mails import note
from service.matching import alike, language, marking
from service.matching.expression import terms
from service.matching.marking import Piece
from service.papers import archive
from service.papers.archive import PaperView
from service.subscribers import accounts, feedback, interests
from service.subscribers.accounts import ReaderView
from service.subscribers.feedback import FeedbackError
from service.subscribers.tokens import ExpiredToken, Purpose, TokenError
from service.translation import gettext as _
from service.web.papers import previewing
from service.web.serving import forms
from service.web.serving.forms import InterestForm
from service.web.site import Site

_LARGEST_ID: Final = 2**63 - 1


class Word(StrEnum):
    """What the two links of a mail say."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class MatchedView:
    """A paper of a digest, as its page shows it."""

    paper: PaperView
    title: Sequence[Piece]
    excerpt: Sequence[Piece]
    reasons: Sequence[str]
    liked: bool | None


def routes(site: Site) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/digest/{token}")
    def digest_page(token: str) -> HTMLResponse:
        return _for(site, Purpose.DIGEST, token, lambda digest_id: _digest(site, digest_id))

    @router.get("/feedback/{token}/{paper_id}/{word}")
    def feedback_button(token: str, paper_id: int, word: Word) -> HTMLResponse:
        def page(_reader: ReaderView, paper: PaperView) -> HTMLResponse:
            values = {"token": token, "paper": paper, "word": word, "said": None}
            return site.page("feedback.html", values)

        return _on_paper(site, token, paper_id, page)

    @router.post("/feedback/{token}/{paper_id}/{word}")
    def give_feedback(token: str, paper_id: int, word: Word, undo: Annotated[str, Form()] = "") -> HTMLResponse:
        def act(reader: ReaderView, paper: PaperView) -> HTMLResponse:
            with site.database.transaction() as session:
                if undo:
                    feedback.withdraw(session, reader.id, paper.id)
                else:
                    feedback.give(session, reader.id, paper.id, liked=word is Word.UP)
            said = "forgotten" if undo else word.value
            return site.page("feedback.html", {"token": token, "paper": paper, "word": word, "said": said})

        return _on_paper(site, token, paper_id, act)

    @router.get("/feedback/{token}/{paper_id}")
    def more_form(token: str, paper_id: int) -> HTMLResponse:
        return _on_paper(site, token, paper_id, lambda _, paper: _more(site, paper, token, _like(site, paper)))

    @router.post("/feedback/{token}/{paper_id}")
    async def follow_more(request: Request, token: str, paper_id: int) -> HTMLResponse:
        form = forms.read(await request.form(max_fields=20), site.settings)

        def act(reader: ReaderView, paper: PaperView) -> HTMLResponse:
            return (
                _more(site, paper, token, form.queries) if form.preview else _follow(site, reader, paper, token, form)
            )

        return await run_in_threadpool(_on_paper, site, token, paper_id, act)

    @router.get("/papers/{paper_id}/more")
    def more_for_anybody(paper_id: int, query: str = "") -> HTMLResponse:
        """The same for who has no link: ends in the form to subscribe."""
        paper = _paper(site, paper_id)
        return _more(site, paper, None, query[: language.LONGEST] or _like(site, paper))

    @router.get("/preferences/{token}/learned")
    def learned(token: str) -> HTMLResponse:
        return _for_reader(site, Purpose.PREFERENCES, token, lambda reader: _learned(site, reader, token))

    @router.post("/preferences/{token}/learned")
    def forget(token: str, paper: Annotated[str, Form()] = "") -> HTMLResponse:
        """One word taken back, or all."""

        def act(reader: ReaderView) -> HTMLResponse:
            with site.database.transaction() as session:
                if paper.isascii() and paper.isdigit() and int(paper) <= _LARGEST_ID:
                    feedback.withdraw(session, reader.id, int(paper))
                elif not paper:
                    feedback.reset(session, reader.id)
            return _learned(site, reader, token, saved=True)

        return _for_reader(site, Purpose.PREFERENCES, token, act)

    return router


def _digest(site: Site, digest_id: int) -> HTMLResponse:
    with site.database.transaction() as session:
        digest = rest.whole(session, digest_id)
        if digest is None:
            return _gone(site)
        shown = [each.paper_id for each in (*digest.chosen, *digest.rest)]
        papers = archive.by_ids(session, [*shown, *digest.trending_ids])
        said = feedback.on(session, digest.reader_id, list(papers))
        reader = accounts.get(session, digest.reader_id)
    if reader is None:
        return _gone(site)

    def views(matched: Sequence[Matched]) -> list[MatchedView]:
        return [_matched(papers[each.paper_id], each, said) for each in matched if each.paper_id in papers]

    values = {
        "day": digest.slot,
        "note": note.paragraphs(digest.note) if digest.note else (),
        "chosen": views(digest.chosen),
        "rest": views(digest.rest),
        "trending": [_matched(papers[each], None, said) for each in digest.trending_ids if each in papers],
        "feedback": site.links.token(Purpose.FEEDBACK, digest.reader_id),
    }
    return site.page("digest.html", values)


def _matched(paper: PaperView, matched: Matched | None, said: dict[int, bool]) -> MatchedView:
    because = matched.because if matched else ()
    words = [term for each in because for term in terms(each.expression)]
    return MatchedView(
        paper=paper,
        title=marking.marked(paper.title, words, "title"),
        excerpt=previewing.excerpt(paper.abstract, words),
        reasons=list(dict.fromkeys(each.label for each in because)),
        liked=said.get(paper.id),
    )


def _like(site: Site, paper: PaperView) -> str:
    return alike.query_like(site.archive, paper.title, paper.abstract, paper.keywords)


def _more(site: Site, paper: PaperView, token: str | None, query: str, errors: Sequence[str] = ()) -> HTMLResponse:
    """The query that finds more like a paper, with what it would have brought."""
    line = " ".join(query.split())
    made = previewing.view(site, InterestForm(queries=line))
    values = {
        "paper": paper,
        "token": token,
        "query": line,
        "preview": replace(made, errors=[*errors, *made.errors]),
        "followed": False,
    }
    return site.page("more.html", values, status=400 if errors else 200)


def _follow(site: Site, reader: ReaderView, paper: PaperView, token: str, form: InterestForm) -> HTMLResponse:
    try:
        wishes = interests.from_queries([" ".join(form.queries.split())])
        with site.database.transaction() as session:
            interests.add(session, reader.id, wishes)
    except forms.FORM_ERRORS as error:
        return _more(
            site, paper, token, form.queries, [str(error)] if not isinstance(error, language.QueryError) else []
        )
    if not wishes:
        return _more(site, paper, token, form.queries, [_("the query is empty: write what more should come of")])
    return site.message(
        _("You follow it"),
        _("What matches “%(label)s” comes with your next mails.", label=wishes[0].label),
        _("Your preferences, linked in every mail, show and change everything you follow."),
        links=((_("The day’s papers"), "/"),),
    )


def _learned(site: Site, reader: ReaderView, token: str, *, saved: bool = False) -> HTMLResponse:
    with site.database.transaction() as session:
        words = feedback.of(session, reader.id)
    values = {"token": token, "words": words, "counted": feedback.MOST_LEARNED, "saved": saved}
    return site.page("learned.html", values)


def _paper(site: Site, paper_id: int) -> PaperView:
    with site.database.transaction() as session:
        paper = archive.one(session, paper_id) if 0 < paper_id <= _LARGEST_ID else None
    if paper is None:
        raise HTTPException(404)
    return paper


def _on_paper(
    site: Site, token: str, paper_id: int, page: Callable[[ReaderView, PaperView], HTMLResponse]
) -> HTMLResponse:
    def of_reader(reader: ReaderView) -> HTMLResponse:
        try:
            return page(reader, _paper(site, paper_id))
        except FeedbackError as error:
            return site.message(_("That is not possible"), str(error), status=410)

    return _for_reader(site, Purpose.FEEDBACK, token, of_reader)


def _for_reader(site: Site, purpose: Purpose, token: str, page: Callable[[ReaderView], HTMLResponse]) -> HTMLResponse:
    def named(reader_id: int) -> HTMLResponse:
        with site.database.transaction() as session:
            reader = accounts.get(session, reader_id)
        return page(reader) if reader else _gone(site)

    return _for(site, purpose, token, named)


def _for(site: Site, purpose: Purpose, token: str, page: Callable[[int], HTMLResponse]) -> HTMLResponse:
    """The page for what a link names; a clear one where it names nothing."""
    try:
        named = site.links.read(purpose, token)
    except ExpiredToken:
        said = _("this link has expired: open a newer mail and use the link there")
        return site.message(_("This link has expired"), said, status=410)
    except TokenError as error:
        return site.message(_("This link is not valid"), str(error), status=404)
    return page(named)


def _gone(site: Site) -> HTMLResponse:
    return site.message(_("Nothing here"), _("This digest or subscription does not exist any more."), status=410)
