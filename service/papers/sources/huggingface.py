"""Hugging Face Daily Papers: the API's answers, from the network or from a file.

The shape is that of ``GET /api/daily_papers`` (huggingface_hub, ``hf_api.py``, ``list_daily_papers``). Optional keys
are absent, not null. The row's own ``publishedAt`` is Eastern time labelled as UTC and is not used; that of its
``paper`` is right. The day of the listing is ``paper.submittedOnDailyAt``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from service.papers.fetch import Fetcher, FetchError
from service.papers.identity import identifiers
from service.papers.record import PaperRecord, Problem, SourceError
from service.papers.sources import field
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "huggingface"
_PAGE_ROWS: Final = 100
_MOST_PAGES: Final = 20


class HuggingFaceDaily:
    """The listings of the days since ``since``, a request or more for each."""

    name = NAME

    def __init__(self, origin: str, fetcher: Fetcher) -> None:
        self.origin = f"{origin}/api/daily_papers"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[PaperRecord | Problem]:
        """Newest day first. A day that fails costs that day; when the first two fail, the site is taken to be away."""
        failures = days = 0
        day = datetime.now(UTC).date()
        while day >= since:
            days += 1
            try:
                yield from self._day(day)
            except FetchError as error:
                failures += 1
                if failures == days and failures >= 2:
                    raise SourceError(str(error)) from error
                yield Problem(day.isoformat(), str(error))
            day -= timedelta(days=1)
        if failures == days:
            raise SourceError(f"{self.origin} could not be read on any day: try again later")

    def _day(self, day: date) -> Iterator[PaperRecord | Problem]:
        for page in range(_MOST_PAGES):
            query = {"date": day.isoformat(), "limit": str(_PAGE_ROWS), "p": str(page)}
            body = self._fetcher.get(self.origin, query)
            try:
                rows = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise FetchError(f"{self.origin} answered with something that is not JSON: {error.msg}") from error
            if not isinstance(rows, list):
                raise FetchError(f"{self.origin} answered with something that is not a list of papers")
            yield from read_rows(rows, f"{day} row ")
            if len(rows) < _PAGE_ROWS:
                return


def read_rows(rows: Iterable[object], position: str = "row ") -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each row."""
    for number, row in enumerate(rows, 1):
        try:
            yield _record(field.mapping(row))
        except RowError as error:
            yield Problem(f"{position}{number}", str(error))


def _record(row: Mapping[str, Any]) -> PaperRecord:
    paper = field.mapping(row.get("paper"))
    if not paper:
        raise RowError("is not a Daily Papers row: it has no paper")
    arxiv = paper.get("id")
    names = identifiers(arxiv=arxiv if isinstance(arxiv, str) else None)
    title = field.title(paper.get("title") or row.get("title"))
    abstract = field.text(paper.get("summary") or row.get("summary"))
    listed = paper.get("authors")
    people = [field.mapping(each) for each in listed] if isinstance(listed, list) else []
    authors = field.names([each.get("name") for each in people if each.get("hidden") is not True])
    organization = field.mapping(paper.get("organization") or row.get("organization"))
    listed_on = field.day(paper.get("submittedOnDailyAt"))
    keywords = paper.get("ai_keywords")
    return PaperRecord(
        source=NAME,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        tldr=field.text(paper.get("ai_summary"), 2_000),
        authors=authors,
        author_count=len(authors),
        organization=field.text(organization.get("fullname") or organization.get("name"), field.LONGEST_NAME),
        keywords=field.names(keywords)[: field.MOST_KEYWORDS],
        published_on=field.day(paper.get("publishedAt")),
        listed_on=listed_on,
        featured_on=listed_on,
        upvotes=field.count(paper.get("upvotes")),
        comments=field.count(row.get("numComments")),
        url=f"https://huggingface.co/papers/{names[0].value}" if names else None,
        code_url=field.url(paper.get("githubRepo")),
        project_url=field.url(paper.get("projectPage")),
        withdrawn=bool(paper.get("withdrawnAt")),
        original_title=original(paper.get("title") or row.get("title"), title),
        original_abstract=original(paper.get("summary") or row.get("summary"), abstract),
    )
