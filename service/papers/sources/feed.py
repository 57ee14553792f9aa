"""Any RSS 2.0, RSS 1.0 or Atom feed: a journal, a lab, a blog.

A paper is known by its DOI or arXiv id where the feed tells one, else by the item's own id or link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from service.papers.fetching import Fetcher, FetchError
from service.papers.identity import identifiers
from service.papers.record import Dayless, Identifier, PaperRecord, Problem, Row, SourceError
from service.papers.sources import field, xml_items
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "feed"
OLDEST: Final = timedelta(days=30)
"""Feeds keep old items for years; what is older than this when it is first seen is not news."""

_MARKUP = re.compile(r"<[^<>]{0,500}>")
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"'<>?#]{1,150}")


class Feed(Dayless):
    """One feed. It tells of no days."""

    def __init__(self, url: str, fetcher: Fetcher) -> None:
        self.origin = url
        self.name = f"{NAME}:{url}"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        oldest = min(since, datetime.now(UTC).date() - OLDEST)
        try:
            body = self._fetcher.get(self.origin)
        except FetchError as error:
            raise SourceError(str(error)) from error
        ending = xml_items.Ending()
        try:
            for row in read_feed(body, self.origin, ending=ending):
                if isinstance(row, Problem) or row.published_on is None or row.published_on >= oldest:
                    yield row
        except SourceError:
            self._fetcher.forget(self.origin)
            raise
        if ending.cut_off:
            self._fetcher.forget(self.origin)


def read_feed(body: bytes, origin: str, *, ending: xml_items.Ending | None = None) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each item. Raises :class:`SourceError` where this is no feed at all."""
    return xml_items.feed_records(body, origin, _record, what="give the address of an RSS or Atom feed", ending=ending)


def _record(item: Any) -> PaperRecord:
    link = _link(item)
    own = xml_items.text(item, "guid", "atom:id", "dc:identifier") or link
    written_title = _unmarked(xml_items.text(item, "title", "atom:title", "rss1:title", "dc:title"))
    written_abstract = _unmarked(
        xml_items.text(item, "description", "atom:summary", "rss1:description", "content:encoded", "atom:content")
    )
    title, abstract = field.title(written_title), field.text(written_abstract)
    names = _names(xml_items.text(item, "prism:doi", "arxiv:DOI", "dc:identifier"), link, own)
    if not names:
        if own is None:
            raise RowError("has neither an id nor a link")
        names = (Identifier(NAME, own[:500]),)
    authors = _authors(item)
    labels = [
        *(each.text for each in item.findall("category")),
        *(each.get("term") for each in item.findall("atom:category", xml_items.SPACES)),
        *(each.text for each in item.findall("dc:subject", xml_items.SPACES)),
    ]
    categories = field.categories([label for label in labels if label])
    published = xml_items.day(
        xml_items.text(item, "pubDate", "atom:published", "dc:date", "prism:publicationDate", "atom:updated")
    )
    return PaperRecord(
        source=NAME,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        authors=authors,
        author_count=len(authors),
        categories=categories,
        keywords=() if categories else field.names(labels)[: field.MOST_KEYWORDS],
        published_on=published,
        url=field.url(link),
        original_title=original(written_title, title),
        original_abstract=original(written_abstract, abstract),
    )


def _link(item: Any) -> str | None:
    written = xml_items.text(item, "link", "rss1:link")
    if written is not None:
        return written
    links = item.findall("atom:link", xml_items.SPACES)
    chosen = next((each for each in links if each.get("rel", "alternate") == "alternate"), None)
    return chosen.get("href") if chosen is not None else None


def _names(doi: str | None, *texts: str | None) -> tuple[Identifier, ...]:
    """A DOI or arXiv id, where one is said or stands in an address."""
    for text in (doi, *texts):
        if text is None:
            continue
        if names := identifiers(arxiv=text):
            return names
        if (found := _DOI.search(text)) and (names := identifiers(doi_text=found[0])):
            return names
    return ()


def _authors(item: Any) -> tuple[str, ...]:
    creators = [each.text for each in item.findall("dc:creator", xml_items.SPACES)]
    creators += [each.text for each in item.findall("atom:author/atom:name", xml_items.SPACES)]
    # RSS 2.0 wants an address there: "ada@example.org (Ada Inventor)".
    creators += [re.sub(r"^\S+@\S+\s*\((.*)\)$", r"\1", (each.text or "").strip()) for each in item.findall("author")]
    if len(creators) == 1 and creators[0]:
        creators = list(re.split(r"[,;]", creators[0]))
    return field.names(creators)


def _unmarked(written: str | None) -> str | None:
    """Without HTML tags, which feeds put into texts; less-than signs of formulas stay."""
    if written is None or "<" not in written:
        return written
    return _MARKUP.sub(lambda found: " " if re.match(r"</?[A-Za-z!]", found[0]) else found[0], written)
