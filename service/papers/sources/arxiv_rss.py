"""arXiv's announcement feeds, RSS 2.0 and Atom (https://info.arxiv.org/help/rss.html), from the network or a file.

The feed holds one announcement day. Items are read one at a time, leniently: a feed that is cut off keeps the items
before the cut.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date, timedelta
from typing import Any, Final

from service.papers.fetching import Fetcher, FetchError
from service.papers.identity import ARXIV, arxiv_version, identifiers
from service.papers.record import DayRead, PaperRecord, Problem, Row, SourceError
from service.papers.sources import field, xml_items
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "arxiv"

_ANNOUNCEMENT = re.compile(r"^\s*arXiv:(?P<id>\S+)\s+Announce Type:\s*(?P<kind>\S+)\s*(?:Abstract:)?\s*", re.DOTALL)
_AFFILIATION = re.compile(r"\([^()]*\)")
_CATEGORIES_A_REQUEST: Final = 40


class ArxivFeed:
    """Today's announcements of some categories, in one request for up to forty of them."""

    name = NAME

    def __init__(self, origin: str, categories: Iterable[str], fetcher: Fetcher) -> None:
        self._categories = list(categories)
        self.origin = f"{origin}/rss"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        """The day of the feed, and that the days on which arXiv announces nothing had nothing."""
        day = _Day()
        failed: SourceError | None = None
        for start in range(0, len(self._categories), _CATEGORIES_A_REQUEST):
            wanted = "+".join(self._categories[start : start + _CATEGORIES_A_REQUEST])
            url = f"{self.origin}/{wanted}"
            before = day.cut_off
            try:
                yield from day.counted(self._fetcher.get(url), self.origin)
            except FetchError as error:
                failed = SourceError(str(error))
            except SourceError as error:
                self._fetcher.forget(url)
                failed = error
            if day.cut_off and not before:
                self._fetcher.forget(url)
        yield from day.told(since, failed)
        if failed is not None:
            raise failed


@dataclass(slots=True)
class _Day:
    """What the feeds of one reading say of days."""

    rows: Counter[date] = dataclass_field(default_factory=Counter)
    problems: int = 0
    built_on: date | None = None
    skipped: set[str] = dataclass_field(default_factory=set)
    cut_off: bool = False

    def counted(self, body: bytes, origin: str) -> Iterator[PaperRecord | Problem]:
        ending = xml_items.Ending()
        for row in read_feed(body, origin, ending=ending, aside=self._channel):
            if isinstance(row, Problem):
                self.problems += 1
            elif row.listed_on is not None:
                self.rows[row.listed_on] += 1
            yield row
        self.cut_off = self.cut_off or ending.cut_off

    def told(self, since: date, failed: SourceError | None) -> Iterator[DayRead]:
        newest = max(self.rows, default=self.built_on)
        if newest is None:
            return
        whole = failed is None and not self.cut_off
        note = str(failed) if failed is not None else "the feed was cut off" if self.cut_off else ""
        # A feed holds one announcement day. Rows that could not be read have no day of their own.
        yield DayRead(newest, self.rows[newest] + self.problems, complete=whole, note=note)
        if self.skipped and whole:
            quiet = [since + timedelta(days=n) for n in range((newest - since).days)]
            for day in quiet:
                if f"{day:%A}" in self.skipped and day not in self.rows:
                    yield DayRead(day, 0, note="arXiv announces nothing on this day of the week")

    def _channel(self, element: Any) -> None:
        parent = element.getparent()
        name, above = xml_items.local(element), xml_items.local(parent) if parent is not None else ""
        if above == "skipDays" and name == "day":
            self.skipped.add((element.text or "").strip())
        elif (above, name) in (("channel", "pubDate"), ("feed", "updated")):
            self.built_on = xml_items.day(element.text) or self.built_on


def read_feed(
    body: bytes,
    origin: str,
    *,
    ending: xml_items.Ending | None = None,
    aside: Callable[[Any], None] | None = None,
) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each item. Raises :class:`SourceError` where this is no feed at all."""
    return xml_items.feed_records(
        body, origin, _record, what="give an RSS or Atom feed of arXiv", ending=ending, aside=aside
    )


def _record(item: Any) -> PaperRecord:
    description = xml_items.text(item, "description", "atom:summary") or ""
    announced = _ANNOUNCEMENT.match(description)
    names = identifiers(
        arxiv=next(
            (
                text
                for text in (
                    xml_items.text(item, "guid", "atom:id"),
                    xml_items.text(item, "link"),
                    _link(item),
                    announced["id"] if announced else None,
                )
                if text and identifiers(arxiv=text)
            ),
            None,
        ),
        doi_text=xml_items.text(item, "arxiv:DOI", "arxiv:doi"),
    )
    arxiv = next((name.value for name in names if name.scheme == ARXIV), None)
    if arxiv is None:
        raise RowError("has no arXiv id")
    authors = _authors(item)
    written_title = xml_items.text(item, "title", "atom:title")
    written_abstract = description[announced.end() :] if announced else description
    title, abstract = field.title(written_title), field.text(written_abstract)
    return PaperRecord(
        source=NAME,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        authors=authors,
        author_count=len(authors),
        categories=field.categories(_categories(item)),
        listed_on=xml_items.day(xml_items.text(item, "pubDate", "atom:published")),
        url=f"https://arxiv.org/abs/{arxiv}",
        pdf_url=f"https://arxiv.org/pdf/{arxiv}",
        version=arxiv_version(announced["id"] if announced else xml_items.text(item, "guid", "atom:id") or ""),
        revision=announced is not None and announced["kind"].startswith("replace"),
        original_title=original(written_title, title),
        original_abstract=original(written_abstract, abstract),
    )


def _link(item: Any) -> str | None:
    found = item.find("atom:link", xml_items.SPACES)
    return found.get("href") if found is not None else None


def _categories(item: Any) -> list[str]:
    rss = [(each.text or "").strip() for each in item.findall("category")]
    return rss or [each.get("term") or "" for each in item.findall("atom:category", xml_items.SPACES)]


def _authors(item: Any) -> tuple[str, ...]:
    """All authors stand in one dc:creator, parted by commas; affiliations in parentheses may hold commas too."""
    creators = [name.text or "" for name in item.findall("dc:creator", xml_items.SPACES)]
    creators += [name.text or "" for name in item.findall("atom:author/atom:name", xml_items.SPACES)]
    written = ", ".join(creators)
    while (without := _AFFILIATION.sub(" ", written)) != written:
        written = without
    return field.names(written.split(","))
