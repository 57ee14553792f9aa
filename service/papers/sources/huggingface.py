"""Hugging Face Daily Papers: the API's answers, from the network or from a file.

The shape is that of ``GET /api/daily_papers`` (huggingface_hub, ``hf_api.py``, ``list_daily_papers``). Optional keys
are absent, not null. The row's own ``publishedAt`` is Eastern time labelled as UTC and is not used; that of its
``paper`` is right. The day of the listing is ``paper.submittedOnDailyAt``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from service.papers.fetching import Fetcher, FetchError
from service.papers.identity import identifiers
from service.papers.record import Dayless, DayRead, PaperRecord, Problem, Row, SourceError
from service.papers.sources import by_day, field
from service.papers.sources.by_day import Progress
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "huggingface"
_PATH: Final = "/api/daily_papers"
_PAGE_ROWS: Final = 100
_MOST_PAGES: Final = 20


class HuggingFaceDaily:
    """The listings of the days since ``since``, a request or more for each."""

    name = NAME

    def __init__(self, origin: str, fetcher: Fetcher) -> None:
        self.origin = f"{origin}{_PATH}"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        """Newest day first, as :func:`by_day.newest_first` promises."""
        return by_day.newest_first(since, self._day)

    def _day(self, day: date, progress: Progress) -> Iterator[PaperRecord | Problem]:
        for row in _listing(self._fetcher, self.origin, {"date": day.isoformat()}, f"{day} row "):
            progress.rows += not isinstance(row, PaperRecord) or row.listed_on in (day, None)
            yield row


class HuggingFaceWeeks:
    """The listings of the weeks since ``since``: fewer requests than days, for catching up."""

    name = f"{NAME}-week"

    def __init__(self, origin: str, fetcher: Fetcher) -> None:
        self.origin = f"{origin}{_PATH}"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        today = datetime.now(UTC).date()
        monday = since - timedelta(days=since.weekday())
        while monday <= today:
            year, week, _ = monday.isocalendar()
            name = f"{year}-W{week:02}"
            found: Counter[date] = Counter()
            try:
                for row in _listing(self._fetcher, self.origin, {"week": name}, f"{name} row "):
                    if isinstance(row, PaperRecord) and row.listed_on is not None:
                        found[row.listed_on] += 1
                    yield row
            except FetchError as error:
                raise SourceError(str(error)) from error
            for day in (monday + timedelta(days=n) for n in range(7)):
                if since <= day <= today:
                    yield DayRead(day, found[day])
            monday += timedelta(days=7)


class HuggingFaceTrending(Dayless):
    """What is much read now, of whatever day: it refreshes counts and finds what was missed. It tells of no days."""

    name = f"{NAME}-trending"

    def __init__(self, origin: str, fetcher: Fetcher) -> None:
        self.origin = f"{origin}{_PATH}"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:  # noqa: ARG002 (trending has no days)
        try:
            yield from _listing(self._fetcher, self.origin, {"sort": "trending"}, "trending row ", pages=1)
        except FetchError as error:
            raise SourceError(str(error)) from error


def _listing(
    fetcher: Fetcher, url: str, wanted: Mapping[str, str], position: str, pages: int = _MOST_PAGES
) -> Iterator[PaperRecord | Problem]:
    """All pages of a listing. A listing that changes while it is read repeats rows: each id is told once."""
    seen: set[str] = set()
    for page in range(pages):
        query = {**wanted, "limit": str(_PAGE_ROWS), "p": str(page)}
        try:
            rows = orjson.loads(fetcher.get(url, query))
        except orjson.JSONDecodeError as error:
            fetcher.forget(url, query)
            raise FetchError(f"{url} answered with something that is not JSON: {error.msg}") from error
        if not isinstance(rows, list):
            fetcher.forget(url, query)
            raise FetchError(f"{url} answered with something that is not a list of papers")
        names = [str(field.mapping(field.mapping(row).get("paper")).get("id", "")) for row in rows]
        fresh = [row for row, name in zip(rows, names, strict=True) if not name or name not in seen]
        seen.update(names)
        yield from read_rows(fresh, position if page == 0 else f"{position}{page * _PAGE_ROWS} + ")
        # A server that does not know the page parameter gives the first page for ever.
        if len(rows) < _PAGE_ROWS or not fresh:
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
