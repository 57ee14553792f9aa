"""Papers as an index in memory (tantivy), and expressions run over it.

The same index serves matching an edition, searching the archive and previews, so a query means the same everywhere.
Text is normalised here, once, and stored as tokens with spaces between; the engine itself folds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur

from service.matching.language import And, Exact, Expression, Not, Or, Text
from service.matching.normalise import joined
from service.papers import taxonomy

TITLE_WEIGHT: Final = 3.0
KEYWORDS_WEIGHT: Final = 0.5
AUTHOR_SCORE: Final = 8.0
"""A named author is as telling as a rare phrase in a title."""
TAG_SCORE: Final = 0.2
"""A category or source says little by itself."""
_TIE_BREAKER: Final = 0.1
_HEAP_BYTES: Final = 64_000_000


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


@dataclass(frozen=True, slots=True)
class Hits:
    """What a query found: parallel arrays, best first, ties in the order of paper ids."""

    paper_ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.paper_ids)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", stored=False, indexed=True, fast=True)
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
        self._searcher = self._index.searcher()

    @classmethod
    def build(cls, papers: Iterable[IndexedPaper]) -> PaperIndex:
        """An index of ``papers``, whose ids must be distinct."""
        index = cls()
        writer = index._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        for paper in papers:
            writer.add_document(_document(paper))
        index._commit(writer)
        return index

    def replace(self, papers: Iterable[IndexedPaper]) -> None:
        """Add papers, in the place of those with the same ids."""
        writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        for paper in papers:
            writer.delete_documents_by_term("id", paper.id)
            writer.add_document(_document(paper))
        self._commit(writer)

    def _commit(self, writer: tantivy.IndexWriter) -> None:
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def __len__(self) -> int:
        return self._searcher.num_docs

    def search(self, expression: Expression) -> Hits:
        """Every paper that the expression matches."""
        return self.run(compiled(expression))

    def run(self, query: tantivy.Query, limit: int | None = None) -> Hits:
        """As :meth:`search`, for a query compiled before."""
        searcher = self._searcher
        found = searcher.search(query, limit=limit or max(searcher.num_docs, 1), count=False).hits
        if not found:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        ids = np.array(searcher.fast_field_values("id", [address for _, address in found]), np.int64)
        scores = np.array([score for score, _ in found], np.float32)
        order = np.lexsort((ids, -scores))
        return Hits(ids[order], scores[order])


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
            # Only reached inside alternatives; by itself an index cannot list what is not there.
            return tantivy.Query.boolean_query(
                [(Occur.Must, tantivy.Query.all_query()), (Occur.MustNot, compiled(part))]
            )


def _clause(part: Expression) -> tuple[Occur, tantivy.Query]:
    return (Occur.MustNot, compiled(part.part)) if isinstance(part, Not) else (Occur.Must, compiled(part))


def _words(field: str, words: tuple[str, ...], prefix: bool) -> tantivy.Query:
    if prefix:
        # Tokens are letters and digits only, so there is nothing to escape.
        return tantivy.Query.regex_query(SCHEMA, field, f"{words[0]}.*")
    if len(words) == 1:
        return tantivy.Query.term_query(SCHEMA, field, words[0])
    return tantivy.Query.phrase_query(SCHEMA, field, list(words))


def _document(paper: IndexedPaper) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer("id", paper.id)
    document.add_text("title", joined(paper.title))
    document.add_text("abstract", joined(paper.abstract))
    for keyword in paper.keywords:
        document.add_text("keywords", joined(keyword))
    if paper.organization:
        document.add_text("org", joined(paper.organization))
    for author in paper.authors:
        document.add_text("author", joined(author))
    for position, category in enumerate(paper.categories):
        names = _with_archive(category)
        for name in names:
            document.add_text("cat", name)
            if position == 0:
                document.add_text("primary", name)
    for source in paper.sources:
        document.add_text("source", source)
    return document


def _with_archive(category: str) -> set[str]:
    known = taxonomy.CATEGORIES.get(category)
    return {category, known.archive} if known else {category}
