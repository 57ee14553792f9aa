"""arXiv's announcement feeds, RSS 2.0 and Atom (https://info.arxiv.org/help/rss.html), from the network or a file.

The feed holds one announcement day. Items are read one at a time, leniently: a feed that is cut off keeps the items
before the cut. Entities beyond the five of XML are never resolved, so an entity bomb stays small.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from datetime import date
from email.utils import parsedate_to_datetime
from typing import Any, Final

from lxml import etree

from service.papers.fetch import Fetcher, FetchError
from service.papers.identity import ARXIV, arxiv_version, identifiers
from service.papers.record import PaperRecord, Problem, SourceError
from service.papers.sources import field
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "arxiv"

_ANNOUNCEMENT = re.compile(r"^\s*arXiv:(?P<id>\S+)\s+Announce Type:\s*(?P<kind>\S+)\s*(?:Abstract:)?\s*", re.DOTALL)
_AFFILIATION = re.compile(r"\([^()]*\)")
_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "atom": "http://www.w3.org/2005/Atom",
    "arxiv": "http://arxiv.org/schemas/atom",
}
_ITEMS = ("item", f"{{{_SPACES['atom']}}}entry")
_CATEGORIES_A_REQUEST: Final = 40


class ArxivFeed:
    """Today's announcements of some categories, in one request for up to forty of them."""

    name = NAME

    def __init__(self, origin: str, categories: Iterable[str], fetcher: Fetcher) -> None:
        self._categories = list(categories)
        self.origin = f"{origin}/rss"
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[PaperRecord | Problem]:  # noqa: ARG002 (a feed has one day only)
        for start in range(0, len(self._categories), _CATEGORIES_A_REQUEST):
            wanted = "+".join(self._categories[start : start + _CATEGORIES_A_REQUEST])
            try:
                body = self._fetcher.get(f"{self.origin}/{wanted}")
            except FetchError as error:
                raise SourceError(str(error)) from error
            yield from read_feed(body, self.origin)


def read_feed(body: bytes, origin: str) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each item. Raises :class:`SourceError` where this is no feed at all."""
    root, items, number = "", etree.iterparse(
        io.BytesIO(body), events=("start", "end"), recover=True, resolve_entities=False, no_network=True, load_dtd=False
    ), 0  # fmt: skip
    held: PaperRecord | Problem | None = None
    try:
        for event, element in items:
            if event == "start":
                root = root or _tag(element)
                continue
            if element.tag not in _ITEMS:
                continue
            number += 1
            if held is not None:
                yield held
            held = _taken(element, number)
            element.clear()
    except etree.XMLSyntaxError as error:
        raise SourceError(f"{origin} is not XML ({error.msg}): give an RSS or Atom feed of arXiv") from None
    if root not in ("rss", "feed", "RDF"):
        raise SourceError(f"{origin} is not a feed: give an RSS or Atom feed of arXiv")
    cut_off = any(error.type_name in _ENDED_EARLY for error in items.error_log)
    if held is not None and not cut_off:
        yield held
    elif cut_off:
        yield Problem(
            f"item {max(number, 1)}", "the feed is cut off here: this item is not complete, later ones are missing"
        )


_ENDED_EARLY: Final = frozenset({"ERR_TAG_NOT_FINISHED", "ERR_DOCUMENT_END", "ERR_GT_REQUIRED", "ERR_DOCUMENT_EMPTY"})


def _taken(element: Any, number: int) -> PaperRecord | Problem:
    try:
        return _record(element)
    except RowError as error:
        return Problem(f"item {number}", str(error))


def _record(item: Any) -> PaperRecord:
    description = _text(item, "description", "atom:summary") or ""
    announced = _ANNOUNCEMENT.match(description)
    names = identifiers(
        arxiv=next(
            (
                text
                for text in (
                    _text(item, "guid", "atom:id"),
                    _text(item, "link"),
                    _link(item),
                    announced["id"] if announced else None,
                )
                if text and identifiers(arxiv=text)
            ),
            None,
        ),
        doi_text=_text(item, "arxiv:DOI", "arxiv:doi"),
    )
    arxiv = next((name.value for name in names if name.scheme == ARXIV), None)
    if arxiv is None:
        raise RowError("has no arXiv id")
    authors = _authors(item)
    written_title = _text(item, "title", "atom:title")
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
        listed_on=_day(_text(item, "pubDate", "atom:published")),
        url=f"https://arxiv.org/abs/{arxiv}",
        pdf_url=f"https://arxiv.org/pdf/{arxiv}",
        version=arxiv_version(announced["id"] if announced else _text(item, "guid", "atom:id") or ""),
        original_title=original(written_title, title),
        original_abstract=original(written_abstract, abstract),
    )


def _text(item: Any, *paths: str) -> str | None:
    for path in paths:
        found = item.find(path, _SPACES)
        if found is not None:
            written = "".join(found.itertext()).strip()
            if written:
                return written
    return None


def _link(item: Any) -> str | None:
    found = item.find("atom:link", _SPACES)
    return found.get("href") if found is not None else None


def _categories(item: Any) -> list[str]:
    rss = [(each.text or "").strip() for each in item.findall("category")]
    return rss or [each.get("term") or "" for each in item.findall("atom:category", _SPACES)]


def _authors(item: Any) -> tuple[str, ...]:
    """All authors stand in one dc:creator, parted by commas; affiliations in parentheses may hold commas too."""
    creators = [name.text or "" for name in item.findall("dc:creator", _SPACES)]
    creators += [name.text or "" for name in item.findall("atom:author/atom:name", _SPACES)]
    written = ", ".join(creators)
    while (without := _AFFILIATION.sub(" ", written)) != written:
        written = without
    return field.names(written.split(","))


def _day(written: str | None) -> date | None:
    """The announcement's own calendar day: midnight Eastern, whatever the offset."""
    if written is None:
        return None
    try:
        return parsedate_to_datetime(written).date()
    except ValueError:
        return field.day(written[:10])


def _tag(element: Any) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
