"""arXiv over OAI-PMH (https://info.arxiv.org/help/oa/index.html): for backfill, and for days that the feed was missed.

The day of a record is its datestamp, which changes with every edit. A record is handed over where its first version is
young against its datestamp; the others were announced long ago, and a list of new papers has no use for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from service.papers import taxonomy
from service.papers.fetching import Fetcher, FetchError
from service.papers.identity import ARXIV, identifiers
from service.papers.record import DayRead, PaperRecord, Problem, Row, SourceError
from service.papers.sources import arxiv_rss, field, xml_items
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "arxiv-oai"
YOUNG: Final = timedelta(days=14)
"""Between the first version and the datestamp of a paper that is new: moderation takes days."""
_MOST_PAGES: Final = 200
_PHYSICS: Final = frozenset(
    "astro-ph cond-mat gr-qc hep-ex hep-lat hep-ph hep-th math-ph nlin nucl-ex nucl-th physics quant-ph".split()
)
_NONE: Final = "noRecordsMatch"
_GIVEN: Final = re.compile(r"\([^()]*\)")


class ArxivOai:
    """The records of the days since ``since``, day by day and group by group, so that a day is known to be whole."""

    name = NAME

    def __init__(self, origin: str, categories: Iterable[str], fetcher: Fetcher) -> None:
        self.origin = origin
        self._categories = frozenset(categories)
        self._groups = sorted({_group(category) for category in self._categories})
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        """Oldest day first: a harvest that breaks off goes on where it was."""
        day = since
        while day <= datetime.now(UTC).date():
            rows = 0
            try:
                for group in self._groups:
                    for row in self._listed(day, group):
                        rows += 1
                        yield row
            except (FetchError, SourceError) as error:
                yield DayRead(day, rows, complete=False, note=str(error))
                raise SourceError(str(error)) from error
            yield DayRead(day, rows)
            day += timedelta(days=1)

    def _listed(self, day: date, group: str) -> Iterator[PaperRecord | Problem]:
        query = {
            "verb": "ListRecords",
            "metadataPrefix": "arXivRaw",
            "from": day.isoformat(),
            "until": day.isoformat(),
            "set": group,
        }
        seen: set[str] = set()
        for _ in range(_MOST_PAGES):
            page = Page(self.origin, f"{day} {group} ")
            try:
                yield from page.read(self._fetcher.get(self.origin, query), self._categories)
            except SourceError:
                self._fetcher.forget(self.origin, query)
                raise
            if page.ending.cut_off:
                self._fetcher.forget(self.origin, query)
                raise SourceError(f"{self.origin} was cut off within {day}: the next reading takes the day again")
            if page.error == _NONE or not page.token:
                return
            if page.error or page.token in seen:
                raise SourceError(f"{self.origin} lists {day} without end or with an error ({page.error}): try later")
            seen.add(page.token)
            query = {"verb": "ListRecords", "resumptionToken": page.token}
        raise SourceError(f"{self.origin} lists {day} in more than {_MOST_PAGES} pages: name fewer categories")


class Page:
    """One answer to ListRecords: its rows, then where the next page is."""

    def __init__(self, origin: str, position: str = "") -> None:
        self._origin = origin
        self._position = position
        self.ending = xml_items.Ending()
        self.token = ""
        """Of the next page; empty on the last."""
        self.error = ""
        """The code of an OAI-PMH error (3.6); ``noRecordsMatch`` is an empty list."""
        self._has_list = False

    def read(self, body: bytes, categories: frozenset[str] = frozenset()) -> Iterator[PaperRecord | Problem]:
        """New papers of these categories or archives (of all, if there are none), and what is wrong with others.

        Raises :class:`SourceError` where this is no such answer, or tells of an error.
        """
        found = xml_items.items(
            body,
            self._origin,
            roots=frozenset({"OAI-PMH"}),
            wanted=frozenset({"record"}),
            what="PAPERROUND_ARXIV_OAI_URL must name an OAI-PMH endpoint",
            ending=self.ending,
            aside=self._aside,
        )
        for number, item in enumerate(found, 1):
            try:
                record = _record(item)
            except RowError as error:
                yield Problem(f"{self._position}record {number}", str(error))
                continue
            if record is not None and _of(record.categories, categories):
                yield record
        if self.error and self.error != _NONE:
            raise SourceError(f"{self._origin} answers with the error {self.error}: check the categories")
        if not self.error and not self._has_list and not self.ending.cut_off:
            raise SourceError(f"{self._origin} answers without a list of records: try again later")

    def _aside(self, element: Any) -> None:
        name = xml_items.local(element)
        if name == "resumptionToken":
            self.token = (element.text or "").strip()
        elif name == "ListRecords":
            self._has_list = True
        elif name == "error":
            self.error = (element.get("code") or "unknown")[:60]


def _record(item: Any) -> PaperRecord | None:
    """None: a deleted record, or one of a paper that is not new."""
    header = item.find("oai:header", xml_items.SPACES)
    if header is not None and header.get("status") == "deleted":
        return None
    metadata = item.find("oai:metadata/raw:arXivRaw", xml_items.SPACES)
    if metadata is None:
        raise RowError("has no arXivRaw metadata")
    stamped = xml_items.day(xml_items.text(item, "oai:header/oai:datestamp"))
    versions = metadata.findall("raw:version", xml_items.SPACES)
    published = xml_items.day(xml_items.text(versions[0], "raw:date")) if versions else None
    if stamped is not None and published is not None and stamped - published > YOUNG:
        return None
    identifier = xml_items.text(metadata, "raw:id") or xml_items.text(item, "oai:header/oai:identifier")
    names = identifiers(arxiv=identifier, doi_text=xml_items.text(metadata, "raw:doi"))
    arxiv = next((name.value for name in names if name.scheme == ARXIV), None)
    if arxiv is None:
        raise RowError("has no arXiv id")
    written_title, written_abstract = xml_items.text(metadata, "raw:title"), xml_items.text(metadata, "raw:abstract")
    title, abstract = field.title(written_title), field.text(written_abstract)
    authors = _authors(xml_items.text(metadata, "raw:authors") or "")
    return PaperRecord(
        source=arxiv_rss.NAME,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        authors=authors,
        author_count=len(authors),
        categories=field.categories(xml_items.text(metadata, "raw:categories")),
        published_on=published,
        listed_on=stamped,
        url=f"https://arxiv.org/abs/{arxiv}",
        pdf_url=f"https://arxiv.org/pdf/{arxiv}",
        version=len(versions) or None,
        original_title=original(written_title, title),
        original_abstract=original(written_abstract, abstract),
    )


def _authors(written: str) -> tuple[str, ...]:
    """One free text: names parted by commas and a last "and"; affiliations in parentheses may hold both."""
    while (without := _GIVEN.sub(" ", written)) != written:
        written = without
    return field.names(re.split(r",|\s+and\s+", written))


def _of(categories: tuple[str, ...], wanted: frozenset[str]) -> bool:
    return not wanted or any(each in wanted or each.partition(".")[0] in wanted for each in categories)


def _group(category: str) -> str:
    """The OAI set (group) that holds a category; physics is a group of many archives."""
    archive = (taxonomy.canonical(category) or category).partition(".")[0]
    return f"physics:{archive}" if archive in _PHYSICS - {"physics"} else archive
