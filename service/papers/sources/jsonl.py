"""JSON Lines: one object a line, for papers from anywhere.

Only ``title`` is needed. ``id`` or ``arxiv`` (an arXiv id in any spelling), ``doi``, ``abstract`` or ``summary``,
``authors`` (names), ``categories`` (arXiv's; a list or one text), ``keywords`` or ``ai_keywords``, ``organization`` or
``org``, ``published`` (ISO date or time), ``listed``, ``first_seen`` or ``daily_date`` (the day to show it under),
``upvotes``, ``comments``, ``tldr`` or ``ai_summary``, ``url``, ``pdf``, ``code`` or ``github``, ``project``,
``withdrawn``. A row with ``daily_date`` was listed in Daily Papers and counts as of that source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from service.papers.identity import TITLE, arxiv_version, identifiers
from service.papers.record import Identifier, PaperRecord, Problem
from service.papers.sources import field, huggingface
from service.papers.sources.field import RowError
from service.papers.text import original, title_key

NAME: Final = "file"
_LONGEST_LINE: Final = 4_000_000


def read_lines(lines: Iterable[bytes], source: str = NAME) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each line that is not empty."""
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield record(_object(line), source)
        except RowError as error:
            yield Problem(f"line {number}", str(error))


def record(row: Mapping[str, Any], source: str = NAME) -> PaperRecord:
    """The record of one object. Raises :class:`RowError`."""
    title = field.title(row.get("title"))
    arxiv, doi = (
        value if isinstance(value, str) else None for value in (row.get("arxiv") or row.get("id"), row.get("doi"))
    )
    names = identifiers(arxiv=arxiv, doi_text=doi)
    if not names:
        key = title_key(title)
        if not key:
            raise RowError("has no identifier, and a title without letters or digits")
        names = (Identifier(TITLE, key),)
    abstract = field.text(row.get("abstract") or row.get("summary"))
    authors = field.names(row.get("authors"))
    featured_on = field.day(row.get("daily_date"))
    listed_on = featured_on or field.day(row.get("listed")) or field.day(row.get("first_seen"))
    return PaperRecord(
        source=huggingface.NAME if featured_on else source,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        tldr=field.text(row.get("tldr") or row.get("ai_summary"), 2_000),
        authors=authors,
        author_count=max(len(authors), field.count(row.get("author_count")) or 0),
        organization=field.text(row.get("organization") or row.get("org"), field.LONGEST_NAME),
        categories=field.categories(row.get("categories")),
        keywords=field.names(row.get("keywords") or row.get("ai_keywords"))[: field.MOST_KEYWORDS],
        published_on=field.day(row.get("published")),
        listed_on=listed_on,
        featured_on=featured_on,
        upvotes=field.count(row.get("upvotes")),
        comments=field.count(row.get("comments")),
        url=field.url(row.get("url")),
        pdf_url=field.url(row.get("pdf")),
        code_url=field.url(row.get("code") or row.get("github")),
        project_url=field.url(row.get("project")),
        withdrawn=row.get("withdrawn") is True,
        version=arxiv_version(arxiv) if arxiv else None,
        original_title=original(row.get("title"), title),
        original_abstract=original(row.get("abstract") or row.get("summary"), abstract),
    )


def _object(line: bytes) -> Mapping[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise RowError(f"is longer than {_LONGEST_LINE} bytes")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RowError(f"is not JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise RowError("is not a JSON object")
    return row
