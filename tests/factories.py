"""One maker for each thing a test needs, straight into the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import count
from string import ascii_lowercase, ascii_uppercase, digits

from service.database import Database
from service.papers import editions, ingest
from service.papers.identity import ARXIV
from service.papers.record import Identifier, PaperRecord, Row
from service.settings import Settings
from service.subscribers import accounts, interests
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.consent import Visit
from service.subscribers.topics import catalogue

_numbers = count(1)
TODAY = datetime.now(UTC).date()


def record(title: str = "", **fields: object) -> PaperRecord:
    """An invented arXiv paper, listed today."""
    number = next(_numbers)
    values: dict[str, object] = {
        "source": "arxiv",
        "title": title or f"An Invented Paper, Number {number}",
        "identifiers": (Identifier(ARXIV, f"9901.{number:05d}"),),
        "abstract": f"An abstract that says little about thing {number}.",
        "authors": ("Invented Author",),
        "author_count": 1,
        "categories": ("cs.CL",),
        "published_on": date(2026, 1, 2),
        "listed_on": TODAY,
    }
    return PaperRecord(**(values | fields))  # type: ignore[arg-type]  # fields are the record's own


class Listed:
    """A source that lists these rows."""

    def __init__(self, *rows: Row, name: str = "arxiv") -> None:
        self.name = name
        self.origin = "a test"
        self._rows: Sequence[Row] = rows

    def fetch(self, since: date) -> Iterator[Row]:
        assert since <= TODAY
        return iter(self._rows)


def edition(database: Database, *records: PaperRecord, now: datetime | None = None) -> editions.CutEdition:
    """Store papers and cut an edition of them."""
    ingest.ingest(database, Listed(*records), TODAY, now=now)
    cut = editions.cut(database, now=now)
    assert cut is not None
    return cut


def reader(
    database: Database,
    settings: Settings,
    email: str = "",
    *,
    queries: Sequence[str] = (),
    topics: Sequence[str] = (),
    muted: Sequence[str] = (),
    preferences: Preferences | None = None,
    now: datetime | None = None,
) -> int:
    """A confirmed reader."""
    if topics or not queries:
        catalogue.sync(database)
    with database.transaction() as session:
        wishes = [
            *interests.from_topics(session, topics),
            *interests.from_queries(queries),
            *interests.from_queries(muted, muted=True),
        ]
        signup = Signup(
            email=email or f"reader{next(_numbers)}@example.org",
            wishes=wishes,
            preferences=preferences or Preferences(),
            visit=Visit("test"),
        )
        return accounts.add_confirmed(session, settings, signup, now=now)


def spellings(link: str) -> list[str]:
    """A signed link written in every way that says the same: the last letter of its base64 has two bits to spare."""
    alphabet = f"{ascii_uppercase}{ascii_lowercase}{digits}-_"
    place = alphabet.index(link[-1])
    return [link[:-1] + alphabet[place - place % 4 + spare] for spare in range(4)]
