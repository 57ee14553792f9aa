"""bioRxiv and medRxiv: ``GET /details/{server}/{day}/{day}/{cursor}/json`` (https://api.biorxiv.org).

Numbers come as numbers or as text. Every version of a paper is a row of its own; only first versions are new papers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

import orjson

from service.papers.fetching import Fetcher, FetchError
from service.papers.identity import identifiers
from service.papers.record import PaperRecord, Problem, Row, SourceError
from service.papers.sources import by_day, field
from service.papers.sources.by_day import Progress
from service.papers.sources.field import RowError
from service.papers.text import original

SERVERS: Final = ("biorxiv", "medrxiv")
_MOST_PAGES: Final = 100


class PreprintServer:
    """The papers first posted on the days since ``since``, a request or more for each."""

    def __init__(self, server: str, origin: str, fetcher: Fetcher) -> None:
        self.name = server
        self.origin = f"{origin}/details/{server}"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        """Newest day first, as :func:`by_day.newest_first` promises."""
        return by_day.newest_first(since, self._day)

    def _day(self, day: date, progress: Progress) -> Iterator[PaperRecord | Problem]:
        cursor = revisions = 0
        total: int | None = None
        for _ in range(_MOST_PAGES):
            url = f"{self.origin}/{day}/{day}/{cursor}/json"
            try:
                page = read_page(self._fetcher.get(url), url, self.name, f"{day} row ")
            except SourceError as error:
                self._fetcher.forget(url)
                raise FetchError(str(error)) from error
            cursor += page.listed
            revisions += page.listed - len(page.rows)
            total = page.total if page.total is not None else total
            progress.rows += len(page.rows)
            progress.expected = None if total is None else max(total - revisions, 0)
            yield from page.rows
            if page.listed == 0 or (total is not None and cursor >= total):
                return


class Page:
    """One answer of the API."""

    def __init__(self, rows: list[PaperRecord | Problem], listed: int, total: int | None) -> None:
        self.rows = rows
        self.listed = listed
        """Rows of the answer, revisions among them."""
        self.total = total
        """What the answer says of all pages; None where it does not."""


def read_page(body: bytes, origin: str, server: str, position: str = "row ") -> Page:
    """One answer. Raises :class:`SourceError` where it is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{origin} answered with something that is not JSON: {error.msg}") from None
    messages, collection = field.mapping(answer).get("messages"), field.mapping(answer).get("collection")
    first = field.mapping(messages[0]) if isinstance(messages, list) and messages else {}
    if not isinstance(collection, list):
        # An empty day has a message and, it seems, sometimes no collection.
        if "no posts" in str(first.get("status", "")).lower():
            return Page([], 0, 0)
        raise SourceError(f"{origin} answered with something that is not a list of papers")
    rows: list[PaperRecord | Problem] = []
    for number, row in enumerate(collection, 1):
        try:
            record = _record(field.mapping(row), server)
        except RowError as error:
            rows.append(Problem(f"{position}{number}", str(error)))
        else:
            if record is not None:
                rows.append(record)
    return Page(rows, len(collection), _number(first.get("total")))


def _record(row: Mapping[str, Any], server: str) -> PaperRecord | None:
    """None: a later version of a paper that was new before."""
    version = _number(row.get("version"))
    if version is not None and version > 1:
        return None
    written = row.get("doi")
    names = identifiers(doi_text=written if isinstance(written, str) else None)
    if not names:
        raise RowError("has no DOI")
    written_title, written_abstract = row.get("title"), row.get("abstract")
    title, abstract = field.title(written_title), field.text(written_abstract)
    people = row.get("authors")
    authors = tuple(_name(each) for each in field.names(people.split(";") if isinstance(people, str) else None))
    posted = field.day(row.get("date"))
    category = field.text(row.get("category"), field.LONGEST_NAME)
    address = f"https://www.{server}.org/content/{names[0].value}v{version or 1}"
    return PaperRecord(
        source=server,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        authors=authors,
        author_count=len(authors),
        organization=_said(row.get("author_corresponding_institution")),
        keywords=(category,) if category else (),
        published_on=posted,
        listed_on=posted,
        url=address,
        pdf_url=f"{address}.full.pdf",
        version=version,
        original_title=original(written_title, title),
        original_abstract=original(written_abstract, abstract),
    )


def _name(written: str) -> str:
    """``Surname, A. B.`` as people are called: ``A. B. Surname``."""
    surname, comma, given = written.partition(",")
    return f"{given.strip()} {surname.strip()}".strip() if comma else written


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:9])
    return field.count(value)


def _said(value: object) -> str | None:
    readable = field.text(value, field.LONGEST_NAME)
    return None if readable is None or readable.upper() == "NA" else readable
