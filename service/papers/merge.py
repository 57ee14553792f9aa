"""One paper out of what several sources say of it: the richest fields stay, counts are refreshed."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from service.database.tables import Paper
from service.papers.record import PaperRecord
from service.papers.text import title_key

_TELLING_TITLE: Final = 20
"""Letters and digits: a title this long is not shared by chance."""
_TELLING_ABSTRACT: Final = 60


def made(record: PaperRecord, now: datetime) -> Paper:
    """A new paper."""
    return Paper(
        title=record.title,
        abstract=record.abstract,
        tldr=record.tldr,
        authors=list(record.authors),
        author_count=max(record.author_count, len(record.authors)),
        organization=record.organization,
        categories=list(record.categories),
        keywords=list(record.keywords),
        published_on=record.published_on,
        listed_on=record.listed_on or now.date(),
        featured_on=record.featured_on,
        upvotes=record.upvotes,
        comments=record.comments,
        url=record.url,
        pdf_url=record.pdf_url,
        code_url=record.code_url,
        project_url=record.project_url,
        withdrawn=record.withdrawn,
        title_key=title_key(record.title),
        first_seen_at=now,
        updated_at=now,
    )


def into(paper: Paper, record: PaperRecord, now: datetime) -> bool:
    """Enrich a stored paper by what another row says; return whether anything changed. Its edition stays.

    Longer text replaces shorter (sources shorten, they do not invent); what is missing is filled in; counts take the
    newer word; the day it is listed under and its first publication stay the earliest known.
    """
    merged = {
        "abstract": max(paper.abstract, record.abstract, key=len),
        "tldr": record.tldr or paper.tldr,
        "authors": list(record.authors) if len(record.authors) > len(paper.authors) else paper.authors,
        "author_count": max(paper.author_count, record.author_count, len(record.authors)),
        "organization": paper.organization or record.organization,
        "categories": _joined(paper.categories, record.categories),
        "keywords": _joined(paper.keywords, record.keywords),
        "published_on": _earliest(paper.published_on, record.published_on),
        "listed_on": _earliest(paper.listed_on, record.listed_on),
        "featured_on": _earliest(paper.featured_on, record.featured_on),
        "upvotes": paper.upvotes if record.upvotes is None else record.upvotes,
        "comments": paper.comments if record.comments is None else record.comments,
        "url": paper.url or record.url,
        "pdf_url": paper.pdf_url or record.pdf_url,
        "code_url": paper.code_url or record.code_url,
        "project_url": paper.project_url or record.project_url,
        "withdrawn": paper.withdrawn or record.withdrawn,
    }
    changed = {name: value for name, value in merged.items() if getattr(paper, name) != value}
    for name, value in changed.items():
        setattr(paper, name, value)
    if changed:
        paper.updated_at = now
    return bool(changed)


def same_work(paper: Paper, record: PaperRecord) -> bool:
    """Whether a paper and a row with equal title keys are one work: a telling title, or abstracts that begin alike."""
    if len(paper.title_key) >= _TELLING_TITLE:
        return True
    one, other = title_key(paper.abstract[:200]), title_key(record.abstract[:200])
    return len(one) >= _TELLING_ABSTRACT and one[:_TELLING_ABSTRACT] == other[:_TELLING_ABSTRACT]


def _joined(first: list[str], second: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _earliest(first: date | None, second: date | None) -> date | None:
    known = [day for day in (first, second) if day is not None]
    return min(known) if known else None
