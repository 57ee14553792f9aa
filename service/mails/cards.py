"""A paper as it appears in a mail: rendered and encoded once, with holes for the reader's own reason and links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.mails.lines import wrapped
from service.mails.message import shortened
from service.mails.templates import Fragments, Templates, holes
from service.papers.archive import PaperView
from service.translation import day, ngettext
from service.translation import gettext as _

LONGEST_ABSTRACT: Final = 480
"""Characters: enough to decide by, short enough for ten papers in 40 KB."""
FULL_ABSTRACT: Final = 3_840
"""For readers who want abstracts whole: longer than nearly all; halved where a mail would be too long."""
HOLES: Final = ("reason", "feedback")
"""Filled in for each reader."""
_SENTENCE_ENDS: Final = (". ", "? ", "! ", "。")


@dataclass(frozen=True, slots=True)
class Link:
    """A link below an abstract."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class CardText:
    """What a card says. ``reason`` and ``feedback`` are filled in for each reader."""

    title: str
    short_title: str
    """For the names of links, which must tell them apart."""
    url: str
    byline: str
    details: str
    tldr: str
    abstract: str
    links: tuple[Link, ...]
    paper_id: int
    reason: str
    feedback: str
    """What the links of feedback begin with, ending in a slash."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card, encoded."""

    title: str
    html: Fragments
    text: Fragments


def card_text(paper: PaperView, origin: str, longest_abstract: int) -> CardText:
    """The words of a card. The title leads to the paper's page on our site, which has everything else."""
    details = [day(paper.dated, "medium")]
    details += [paper.categories[0]] if paper.categories else []
    details += [ngettext("%(num)s upvote", "%(num)s upvotes", paper.upvotes)] if paper.upvotes else []
    details += [ngettext("%(num)s comment", "%(num)s comments", paper.comments)] if paper.comments else []
    links = [
        Link(label, url)
        for label, url in (
            (_("Source"), paper.url),
            ("PDF", paper.pdf_url),
            (_("Code"), paper.code_url),
            (_("Project"), paper.project_url),
        )
        if url
    ]
    return CardText(
        title=_("%(title)s [withdrawn]", title=paper.title) if paper.withdrawn else paper.title,
        short_title=shortened(paper.title, 50),
        url=f"{origin}/papers/{paper.id}",
        byline=paper.byline,
        details=" · ".join(details),
        tldr=shortened_at_sentence(paper.tldr or "", longest_abstract),
        abstract=shortened_at_sentence(paper.abstract, longest_abstract),
        links=tuple(links),
        paper_id=paper.id,
        reason="",
        feedback="",
    )


def made(paper: PaperView, templates: Templates, origin: str, longest_abstract: int = LONGEST_ABSTRACT) -> Card:
    """The card of a paper in both parts of the mail."""
    words = card_text(paper, origin, longest_abstract)
    fields = {name: getattr(words, name) for name in CardText.__slots__}
    html_card = {**fields, **holes(HOLES)}
    text_card = {
        **fields,
        "title": wrapped(words.title),
        "abstract": wrapped(words.abstract),
        **holes(HOLES),
    }
    html_source, text_source = templates.html_parts("digest").card, templates.text_parts("digest").card
    return Card(
        title=words.title,
        html=Fragments(templates.html_from(html_source, {"card": html_card})),
        text=Fragments(templates.text_from(text_source, {"card": text_card})),
    )


def shortened_at_sentence(text: str, longest: int) -> str:
    """``text`` cut to at most ``longest`` characters: at the end of a sentence if one is near, else at a word."""
    if len(text) <= longest:
        return text
    cut = text[:longest]
    end = max(cut.rfind(mark) for mark in _SENTENCE_ENDS)
    if end > longest * 0.55:
        return cut[: end + 1]
    space = cut.rfind(" ", 0, longest - 1)
    return cut[: space if space > longest // 2 else longest - 1].rstrip(" ,;:") + "…"
