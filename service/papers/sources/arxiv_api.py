"""arXiv's query API (https://info.arxiv.org/help/api/user-manual.html): for what other sources leave out.

It refuses requests for hours whatever one does, so it only enriches: it looks up papers that are stored without
categories or authors, tries once, waits for nobody, and its failures are told as rows that could not be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import func, or_, select

from service.database import Database
from service.database.tables import Paper, PaperIdentifier
from service.papers.fetching import Fetcher, FetchError
from service.papers.identity import ARXIV, arxiv_version, identifiers
from service.papers.record import Dayless, PaperRecord, Problem, Row, SourceError
from service.papers.sources import arxiv_rss, field, xml_items
from service.papers.sources.field import RowError
from service.papers.text import original

NAME: Final = "arxiv-api"
MOST: Final = 100
"""Papers looked up in one reading, in one request."""


class ArxivApi(Dayless):
    """Looks up the papers that ``wanting`` names. Tells of no days, and never fails as a whole."""

    name = NAME

    def __init__(self, origin: str, wanting: Callable[[date], Sequence[str]], fetcher: Fetcher) -> None:
        self.origin = origin
        self._wanting = wanting
        self._fetcher = fetcher

    def fetch(self, since: date) -> Iterator[Row]:
        wanted = self._wanting(since)[:MOST]
        if not wanted:
            return
        query = {"id_list": ",".join(wanted), "max_results": str(len(wanted))}
        try:
            yield from read_answer(self._fetcher.get(self.origin, query, tries=1), self.origin)
        except (FetchError, SourceError) as error:
            self._fetcher.forget(self.origin, query)
            yield Problem(f"{len(wanted)} papers", f"not looked up: {error}")


def wanting(database: Database, since: date) -> list[str]:
    """arXiv ids of the newest papers that lack categories or authors."""
    statement = (
        select(PaperIdentifier.value)
        .join(Paper, Paper.id == PaperIdentifier.paper_id)
        .where(
            PaperIdentifier.scheme == ARXIV,
            Paper.listed_on >= since,
            or_(func.cardinality(Paper.categories) == 0, func.cardinality(Paper.authors) == 0),
        )
        .order_by(Paper.id.desc())
        .limit(MOST)
    )
    with database.transaction() as session:
        return list(session.scalars(statement))


def read_answer(body: bytes, origin: str) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each entry. Raises :class:`SourceError` where this is no answer of the API."""
    ending = xml_items.Ending()
    found = xml_items.items(
        body,
        origin,
        roots=frozenset({"feed"}),
        wanted=frozenset({"entry"}),
        what="PAPERROUND_ARXIV_API_URL must name arXiv's query API",
        ending=ending,
    )
    return xml_items.records(found, _record, ending, called="entry", cut_off="the answer is cut off here")


def _record(entry: Any) -> PaperRecord:
    identifier = xml_items.text(entry, "atom:id") or ""
    written_title, written_abstract = xml_items.text(entry, "atom:title"), xml_items.text(entry, "atom:summary")
    if "/api/errors" in identifier:
        raise RowError(f"is an error of the API: {field.text(written_abstract, 200) or 'no reason told'}")
    names = identifiers(arxiv=identifier, doi_text=xml_items.text(entry, "arxiv:doi"))
    if not any(name.scheme == ARXIV for name in names):
        raise RowError("has no arXiv id")
    title, abstract = field.title(written_title), field.text(written_abstract)
    authors = field.names(
        [xml_items.text(author, "atom:name") for author in entry.findall("atom:author", xml_items.SPACES)]
    )
    primary = [each.get("term") for each in entry.findall("arxiv:primary_category", xml_items.SPACES)]
    others = [each.get("term") for each in entry.findall("atom:category", xml_items.SPACES)]
    return PaperRecord(
        source=arxiv_rss.NAME,
        identifiers=names,
        title=title,
        abstract=abstract or "",
        authors=authors,
        author_count=len(authors),
        categories=field.categories([*primary, *others]),
        published_on=xml_items.day(xml_items.text(entry, "atom:published")),
        version=arxiv_version(identifier),
        original_title=original(written_title, title),
        original_abstract=original(written_abstract, abstract),
    )
