"""The record a source hands over: one row of what it announces. Pure data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """A name of a paper: scheme ``arxiv`` (id without version), ``doi`` (lower case), or a source's own scheme."""

    scheme: str
    value: str


@dataclass(frozen=True, slots=True)
class PaperRecord:
    """What one source says of one paper. Text is clean: no markup, no line folds. None: the source does not say."""

    source: str
    title: str
    identifiers: tuple[Identifier, ...] = ()
    abstract: str = ""
    tldr: str | None = None
    authors: tuple[str, ...] = ()
    author_count: int = 0
    """At least ``len(authors)``."""
    organization: str | None = None
    categories: tuple[str, ...] = ()
    """Primary first; members of the arXiv taxonomy only."""
    keywords: tuple[str, ...] = ()
    published_on: date | None = None
    listed_on: date | None = None
    """The source's own listing day, if it has such a thing."""
    featured_on: date | None = None
    upvotes: int | None = None
    comments: int | None = None
    url: str | None = None
    pdf_url: str | None = None
    code_url: str | None = None
    project_url: str | None = None
    withdrawn: bool = False
    revision: bool = False
    """Announces another version of a paper that was new before: it enriches the paper if that is known, and is never
    new itself."""
    version: int | None = None
    """Of the paper, counted from 1 by the server it is on."""
    original_title: str | None = None
    """As the source wrote it, where that differs from ``title`` (:func:`service.papers.text.original`)."""
    original_abstract: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that could not be taken: where it stands and what is wrong with it."""

    position: str
    problem: str


@dataclass(frozen=True, slots=True)
class DayRead:
    """A source says of one of its own days: this much of it has been read."""

    day: date
    rows: int
    """Rows of that day that were handed over before this, good and bad."""
    expected: int | None = None
    """How many rows the source says the day has; None where it does not say."""
    complete: bool = True
    """Whether the day was read to its end."""
    note: str = ""
    """Why it was not, or what a person should know; one line."""


Row = PaperRecord | Problem | DayRead
"""What a source yields."""


class SourceError(Exception):
    """A source as a whole could not be read, or not to its end. One line: the thing and the remedy."""


class Source(Protocol):
    """Where papers come from.

    ``fetch`` yields a record or a :class:`Problem` for every row, good rows unharmed by bad neighbours, and raises
    only :class:`SourceError`; what it yielded before stands. A source that publishes by days yields a
    :class:`DayRead` after the rows of each day; one that does not yields none.
    """

    name: str
    """Names what is read (``huggingface``, ``arxiv``, ``arxiv-oai``, …): coverage is kept under it. The publication
    that ``source:`` in a query means is the ``source`` of a record."""
    origin: str
    """The URL or file that is read."""

    def fetch(self, since: date) -> Iterator[Row]: ...


@runtime_checkable
class Settling(Protocol):
    """A source that has something to do once its rows are stored, such as putting a file away."""

    def settle(self) -> None: ...


class Dayless:
    """A source that does not publish by days: nothing is noted of its days, not even that they failed."""
