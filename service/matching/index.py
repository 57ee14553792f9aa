"""Papers as an index in memory (tantivy), and expressions run over it.

The same index serves matching an edition, searching the archive and previews, so a query means the same everywhere.
Text is normalised here, once, and stored as tokens with spaces between; the engine itself folds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache, partial
from typing import Final

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur

from service.matching.expression import And, Exact, Expression, Not, Or, Text
from service.matching.normalise import joined, name, singular
from service.papers import taxonomy

TITLE_WEIGHT: Final = 3.0
KEYWORDS_WEIGHT: Final = 0.5
AUTHOR_SCORE: Final = 8.0
"""A named author is as telling as a rare phrase in a title."""
TAG_SCORE: Final = 0.2
"""A category or source says little by itself."""
_TIE_BREAKER: Final = 0.1
_HEAP_BYTES: Final = 64_000_000
_KEPT_LISTS: Final = 512
"""What so many queries found of the last days is kept while the papers stay: the topics of the catalogue and what is
typed just now, about 3 kB each, 12 bytes for each paper found."""
_ID_BITS: Final = 40
"""Of the 63 bits by which papers are ordered in time; the day takes the rest."""


@dataclass(frozen=True, slots=True)
class IndexedPaper:
    """What of a paper can be asked for. Text as a person reads it; the index normalises."""

    id: int
    title: str
    abstract: str = ""
    keywords: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    organization: str | None = None
    categories: tuple[str, ...] = ()
    """Primary first."""
    sources: tuple[str, ...] = ()
    listed_on: date = date.min
    """The day it is shown under: what "newest" goes by."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What a query found: parallel arrays, best first, ties in the order of paper ids."""

    paper_ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.paper_ids)

    @classmethod
    def none(cls) -> Hits:
        return cls(np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class Listed:
    """What a query found since a day: parallel arrays, the last listed first, the best of a day first."""

    ages: NDArray[np.int64]
    """Day and id in one number, as the index holds them."""
    scores: NDArray[np.float32]

    @property
    def paper_ids(self) -> NDArray[np.int64]:
        return self.ages & ((1 << _ID_BITS) - 1)

    @property
    def days(self) -> NDArray[np.int64]:
        """Proleptic ordinals of the days they are listed under."""
        return self.ages >> _ID_BITS

    def __len__(self) -> int:
        return len(self.ages)

    @cached_property
    def _by_age(self) -> NDArray[np.int64]:
        return np.sort(self.ages)

    def holds(self, ages: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of a few papers is among them. Sorted once: what is kept is asked by every preview."""
        if not len(self):
            return np.zeros(len(ages), np.bool_)
        at = np.searchsorted(self._by_age, ages)
        there: NDArray[np.bool_] = self._by_age[np.minimum(at, len(self) - 1)] == ages
        return there

    @classmethod
    def of(cls, ages: NDArray[np.int64], scores: NDArray[np.float32], first: int | None = None) -> Listed:
        """The papers of these ages, in whatever order, put in theirs; only the ``first`` ones if named."""
        if first is not None and len(ages) > first:
            # Only days that can be among the first are put in order.
            last_day = np.partition(ages, len(ages) - first)[len(ages) - first] >> _ID_BITS << _ID_BITS
            ahead = np.flatnonzero(ages >= last_day)
            ahead = ahead[np.lexsort((ages[ahead], -scores[ahead], -(ages[ahead] >> _ID_BITS)))]
            order = np.concatenate([ahead, np.flatnonzero(ages < last_day)])
            return cls(ages[order], scores[order])
        order = np.lexsort((ages, -scores, -(ages >> _ID_BITS)))
        return cls(ages[order], scores[order])

    @classmethod
    def any_of(cls, parts: Sequence[Listed], without: Sequence[Listed] = (), first: int | None = None) -> Listed:
        """What several queries found, each paper once with its scores added, as a query of all of them by OR would; in
        order, or only the ``first`` ones of it if named."""
        if len(parts) == 1 and not without:
            return parts[0]
        ages, at = np.unique(np.concatenate([part.ages for part in parts]), return_inverse=True)
        scores = np.bincount(at, np.concatenate([part.scores for part in parts]), len(ages)).astype(np.float32)
        for part in without:
            left = ~part.holds(ages)
            ages, scores = ages[left], scores[left]
        return cls.of(ages, scores, first)


@dataclass(frozen=True, slots=True)
class _View:
    """The papers as of one commit, and what was found among them lately."""

    searcher: tantivy.Searcher
    since: Callable[[Expression, date], Listed]
    newest_day: date | None

    @classmethod
    def on(cls, searcher: tantivy.Searcher) -> _View:
        return cls(searcher, lru_cache(maxsize=_KEPT_LISTS)(partial(_since, searcher)), _newest_day(searcher))


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", stored=False, indexed=True, fast=True)
    builder.add_integer_field("age", stored=False, indexed=False, fast=True)
    for field in ("title", "abstract", "keywords", "org"):
        builder.add_text_field(field, tokenizer_name="spaces")
    for field in ("author", "cat", "primary", "source"):
        builder.add_text_field(field, tokenizer_name="raw", index_option="basic")
    return builder.build()


SCHEMA: Final = _schema()


class PaperIndex:
    """A searchable set of papers. :meth:`build` makes one; :meth:`replace` brings papers up to date."""

    def __init__(self) -> None:
        self._index = tantivy.Index(SCHEMA)
        spaces = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer("spaces", spaces)
        self._view = _View.on(self._index.searcher())

    @classmethod
    def build(cls, papers: Iterable[IndexedPaper]) -> PaperIndex:
        """An index of ``papers``, whose ids must be distinct."""
        index = cls()
        writer = index._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        for paper in papers:
            writer.add_document(_document(paper))
        index._commit(writer)
        return index

    def replace(self, papers: Iterable[IndexedPaper], gone: Iterable[int] = ()) -> None:
        """Add papers, in the place of those with the same ids, and drop those that are ``gone``.

        One writer at a time; searches meanwhile see the papers as they were.
        """
        writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        for paper_id in gone:
            writer.delete_documents_by_term("id", paper_id)
        for paper in papers:
            writer.delete_documents_by_term("id", paper.id)
            writer.add_document(_document(paper))
        self._commit(writer)

    def _commit(self, writer: tantivy.IndexWriter) -> None:
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._view = _View.on(self._index.searcher())

    def __len__(self) -> int:
        return self._view.searcher.num_docs

    def search(self, expression: Expression) -> Hits:
        """Every paper that the expression matches."""
        return self.run(compiled(expression))

    def newest(self, expression: Expression, limit: int, offset: int = 0) -> tuple[list[int], int]:
        """One page of the papers that match, the last listed first, and how many match in all."""
        searcher = self._view.searcher
        # The engine sets memory aside for every rank up to the last one asked for.
        beyond = offset >= searcher.num_docs
        found = searcher.search(
            compiled(expression),
            limit=1 if beyond else min(limit, searcher.num_docs),
            offset=0 if beyond else offset,
            order_by_field="age",
        )
        shown = [] if beyond else [address for _, address in found.hits]
        return [int(each or 0) for each in searcher.fast_field_values("id", shown)], found.count  # type: ignore[attr-defined]  # the stub leaves it out

    def newest_day(self) -> date | None:
        """The last day that has papers; None for an empty index."""
        return self._view.newest_day

    def since(self, expression: Expression, day: date) -> Listed:
        """Every paper listed on that day or later that the expression matches. Kept until papers change."""
        return self._view.since(expression, day)

    def run(self, query: tantivy.Query) -> Hits:
        """As :meth:`search`, for a query compiled before."""
        searcher = self._view.searcher
        found = searcher.search(query, limit=max(searcher.num_docs, 1), count=False).hits
        if not found:
            return Hits.none()
        ids = np.array(searcher.fast_field_values("id", [address for _, address in found]), np.int64)
        scores = np.array([score for score, _ in found], np.float32)
        order = np.lexsort((ids, -scores))
        return Hits(ids[order], scores[order])


def _newest_day(searcher: tantivy.Searcher) -> date | None:
    found = searcher.search(tantivy.Query.all_query(), limit=1, order_by_field="age").hits
    ages = searcher.fast_field_values("age", [address for _, address in found])
    return date.fromordinal(int(ages[0] or 0) >> _ID_BITS) if ages else None


def _since(searcher: tantivy.Searcher, expression: Expression, day: date) -> Listed:
    recent = tantivy.Query.range_query(SCHEMA, "age", tantivy.FieldType.Integer, day.toordinal() << _ID_BITS)
    clauses = [(Occur.Must, compiled(expression)), (Occur.Must, tantivy.Query.const_score_query(recent, 0.0))]
    found = searcher.search(tantivy.Query.boolean_query(clauses), limit=max(searcher.num_docs, 1), count=False).hits
    if not found:
        return Listed(np.empty(0, np.int64), np.empty(0, np.float32))
    ages = np.array(searcher.fast_field_values("age", [address for _, address in found]), np.int64)
    return Listed.of(ages, np.array([score for score, _ in found], np.float32))


def compiled(expression: Expression) -> tantivy.Query:
    """The engine's form of an expression."""
    match expression:
        case Text(words, None, prefix):
            anywhere = [
                tantivy.Query.boost_query(_words("title", words, prefix), TITLE_WEIGHT),
                _words("abstract", words, prefix),
                tantivy.Query.boost_query(_words("keywords", words, prefix), KEYWORDS_WEIGHT),
            ]
            return tantivy.Query.disjunction_max_query(anywhere, _TIE_BREAKER)
        case Text(words, field, prefix):
            query = _words(field or "", words, prefix)
            return tantivy.Query.boost_query(query, TITLE_WEIGHT) if field == "title" else query
        case Exact(field, value):
            score = AUTHOR_SCORE if field == "author" else TAG_SCORE
            return tantivy.Query.const_score_query(tantivy.Query.term_query(SCHEMA, field, value), score)
        case Or(parts):
            return tantivy.Query.boolean_query([(Occur.Should, compiled(part)) for part in parts])
        case And(parts):
            return tantivy.Query.boolean_query([_clause(part) for part in parts])
        case Not(part):
            # Never the whole of a query: by itself an index cannot list what is not there.
            return tantivy.Query.boolean_query(
                [(Occur.Must, tantivy.Query.all_query()), (Occur.MustNot, compiled(part))]
            )


def _clause(part: Expression) -> tuple[Occur, tantivy.Query]:
    return (Occur.MustNot, compiled(part.part)) if isinstance(part, Not) else (Occur.Must, compiled(part))


def _words(field: str, words: tuple[str, ...], prefix: bool) -> tantivy.Query:
    if prefix:
        # Tokens are letters and digits only, so there is nothing to escape. The index holds "model" for "models".
        start, whole = words[0], singular(words[0])
        return tantivy.Query.regex_query(SCHEMA, field, f"{start}.*" if whole == start else f"{start}.*|{whole}")
    if len(words) == 1:
        return tantivy.Query.term_query(SCHEMA, field, words[0])
    return tantivy.Query.phrase_query(SCHEMA, field, list(words))


@dataclass(frozen=True, slots=True)
class Folded:
    """A paper as every index holds it: running text as tokens with spaces between, whole values as they are asked."""

    running: dict[str, tuple[str, ...]]
    """By field: title, abstract, keywords, org. A phrase never goes from one text to the next."""
    whole: dict[str, tuple[str, ...]]
    """By field: author, cat, primary, source."""


def folded(paper: IndexedPaper) -> Folded:
    """The one reading of a paper, for search and for matching."""
    return Folded(
        running={
            "title": (joined(paper.title),),
            "abstract": (joined(paper.abstract),),
            "keywords": tuple(joined(keyword) for keyword in paper.keywords),
            "org": (joined(paper.organization),) if paper.organization else (),
        },
        whole={
            "author": tuple(dict.fromkeys(name(author) for author in paper.authors)),
            "cat": tuple(dict.fromkeys(each for category in paper.categories for each in _with_archive(category))),
            "primary": _with_archive(paper.categories[0]) if paper.categories else (),
            "source": tuple(paper.sources),
        },
    )


def _document(paper: IndexedPaper) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer("id", paper.id)
    document.add_integer("age", (paper.listed_on.toordinal() << _ID_BITS) + paper.id)
    read = folded(paper)
    for field, texts in (read.running | read.whole).items():
        for text in texts:
            document.add_text(field, text)
    return document


def _with_archive(category: str) -> tuple[str, ...]:
    known = taxonomy.CATEGORIES.get(category)
    return (category, known.archive) if known and known.archive != category else (category,)
