"""A Hugging Face Daily Papers page as a browser saves it: text.

After a header each paper is a title, an abstract, and mostly a line of authors or organization, a dot, and a date with
perhaps a number of comments::

    A Title

    An abstract …

      • 8 authors            or: Slug Full Name
    ·
    Nov 7, 2024 3

The page leaves the current year out of its dates. Which year that was is told by ``as_of``; without it, it is taken to
be the year after the newest that the page does name (such pages list older papers too), but never beyond today.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from service.papers.identity import TITLE
from service.papers.record import Identifier, PaperRecord, Problem, SourceError
from service.papers.sources import field
from service.papers.sources.field import RowError
from service.papers.sources.huggingface import NAME
from service.papers.text import title_key

_MONTHS: Final = {
    name: number for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_DATE = re.compile(r"^(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2})(?:, (?P<year>\d{4}))?(?: (?P<comments>\d{1,6}))?$")
_AUTHORS = re.compile(r"^•?\s*(\d{1,5}) authors?$")
_HEADLINE: Final = "Daily Papers"


@dataclass(frozen=True, slots=True)
class _Meta:
    byline: str
    month: int
    day: int
    year: int | None
    comments: int | None


def looks_like_page(text: str) -> bool:
    """Whether this text is a saved Daily Papers page."""
    return any(line.strip() == _HEADLINE for line in text.splitlines()[:60])


def read_page(text: str, origin: str, as_of: date | None = None) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each paper. Raises :class:`SourceError` where this is no such page."""
    if not looks_like_page(text):
        raise SourceError(f"{origin} is not a saved Daily Papers page: it has no line “{_HEADLINE}”")
    paragraphs = _paragraphs(text)
    start = paragraphs.index(_HEADLINE) + 1 if _HEADLINE in paragraphs else 0
    paragraphs = paragraphs[start:]
    metas = [_meta(paragraph) for paragraph in paragraphs]
    headers = [paragraph for paragraph in paragraphs[:3] if _DATE.match(paragraph)]
    year = _current_year(metas, headers, as_of or datetime.now(UTC).date())
    page_day = _day(_meta_of_date(headers[0], ""), year) if headers else None
    first = paragraphs.index(headers[0]) + 1 if headers else 0
    yield from _papers(paragraphs[first:], metas[first:], year, page_day)


def _papers(
    paragraphs: list[str], metas: list[_Meta | None], year: int, page_day: date | None
) -> Iterator[PaperRecord | Problem]:
    number = at = 0
    while at < len(paragraphs):
        number += 1
        if metas[at] is not None:
            yield Problem(
                f"paper {number}", f"a date without a title before it: {paragraphs[at].splitlines()[-1][:60]}"
            )
            at += 1
            continue
        title, abstract, meta = paragraphs[at], "", None
        at += 1
        if at < len(paragraphs) and metas[at] is None:
            abstract = paragraphs[at]
            at += 1
        if at < len(paragraphs) and metas[at] is not None:
            meta = metas[at]
            at += 1
        try:
            yield _record(title, abstract, meta, year, page_day)
        except RowError as error:
            yield Problem(f"paper {number}", str(error))


def _record(title: str, abstract: str, meta: _Meta | None, year: int, page_day: date | None) -> PaperRecord:
    readable = field.title(title)
    key = title_key(readable)
    if not key:
        raise RowError("its title has neither letters nor digits")
    counted = _AUTHORS.match(meta.byline) if meta else None
    return PaperRecord(
        source=NAME,
        identifiers=(Identifier(TITLE, key),),
        title=readable,
        abstract=field.text(abstract) or "",
        author_count=int(counted[1]) if counted else 0,
        organization=_organization(meta.byline) if meta and not counted else None,
        published_on=_day(meta, year) if meta else None,
        listed_on=page_day,
        featured_on=page_day,
        comments=meta.comments if meta else None,
    )


def _paragraphs(text: str) -> list[str]:
    lines = text.lstrip("\ufeff").splitlines()
    joined = "\n".join(line.strip().replace("\u00a0", " ") for line in lines)
    return [paragraph.strip() for paragraph in re.split(r"\n{2,}", joined) if paragraph.strip()]


def _meta(paragraph: str) -> _Meta | None:
    lines = [line for line in paragraph.split("\n") if line != "·"]
    if len(lines) == len(paragraph.split("\n")) or len(lines) != 2:
        return None
    return _meta_of_date(lines[1], lines[0])


def _meta_of_date(written: str, byline: str) -> _Meta | None:
    found = _DATE.match(written)
    if found is None or found["month"] not in _MONTHS:
        return None
    year = int(found["year"]) if found["year"] else None
    comments = int(found["comments"]) if found["comments"] else None
    return _Meta(byline, _MONTHS[found["month"]], int(found["day"]), year, comments)


def _current_year(metas: list[_Meta | None], headers: list[str], today: date) -> int:
    named = [meta.year for meta in metas if meta is not None and meta.year is not None]
    year = min(max(named) + 1, today.year) if named else today.year
    undated = [meta for meta in metas if meta is not None and meta.year is None]
    undated += [meta for meta in (_meta_of_date(header, "") for header in headers) if meta is not None]
    in_future = any((day := _day(meta, year)) is not None and day > today for meta in undated)
    return year - 1 if in_future else year


def _day(meta: _Meta | None, year: int) -> date | None:
    if meta is None:
        return None
    try:
        return date(meta.year or year, meta.month, meta.day)
    except ValueError:
        return None


def _organization(byline: str) -> str | None:
    """The page prints the logo's text, the slug, before the name: "nvidia NVIDIA"."""
    _, _, name = byline.strip().partition(" ")
    return field.text(name or byline, field.LONGEST_NAME)
