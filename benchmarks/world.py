"""Papers and queries for the benchmarks of matching and planning: real ones where they are at hand, else invented.

Queries are heavy-tailed, as people's are: some topics everybody follows, many phrases that one person asks for. Most
are made of what papers call their own: keywords, runs of words in titles, authors, categories; of many more papers than
the edition holds, so that most queries find little or nothing in it.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

from service.matching.expression import Expression, canonical
from service.matching.language import QueryError, parse
from service.papers.record import Identifier, PaperRecord
from service.papers.samples import SampleSource
from service.subscribers.topics import catalogue

REAL: Final = Path(__file__).parents[2] / "shared" / "data"
"""Where the developers have real input; never part of the repository."""
_FILES: Final = ("arxiv_papers.jsonl.gz", "hf_daily.jsonl.gz")


def papers() -> tuple[list[dict[str, Any]], bool]:
    """Rows with title, abstract, authors, categories, keywords; and whether they are real."""
    if REAL.is_dir():
        rows: dict[str, dict[str, Any]] = {}
        for file in _FILES:
            with gzip.open(REAL / file, "rt") as lines:
                for line in lines:
                    row = json.loads(line)
                    rows.setdefault(row["id"], {}).update(row)
        return list(rows.values()), True
    return list(_invented()), False


def _invented() -> Iterator[dict[str, Any]]:
    """The samples' sentences, mixed anew."""
    draw = random.Random(3)
    samples = list(SampleSource().fetch(date.min))
    words = [word for sample in samples for word in (sample.title + " " + sample.abstract).split()]
    for number in range(6_000):
        like = samples[number % len(samples)]
        at = draw.randrange(len(words) - 200)
        title = " ".join(draw.sample(words, 9))
        yield {"id": f"9901.{number:05d}", "title": title, "abstract": " ".join(words[at : at + 180]),
               "authors": [f"Author {draw.randrange(9_000)} Invented"] * 2, "categories": list(like.categories),
               "ai_keywords": [" ".join(draw.sample(words, 2)) for _ in range(4)]}  # fmt: skip


class Listed:
    """Some of the papers as a source; the numbers of upvotes fall off fast, as they do."""

    name, origin = "file", "the benchmark"

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def fetch(self, since: Any) -> Iterator[PaperRecord]:  # noqa: ARG002 (a source's signature)
        draw = random.Random(11)
        for number, row in enumerate(self._rows):
            yield PaperRecord(
                source=self.name,
                title=f"{row['title']}",
                identifiers=(Identifier("arxiv", f"9901.{number:05d}"),),
                abstract=row.get("abstract") or "",
                authors=tuple(row.get("authors") or ()),
                author_count=len(row.get("authors") or ()),
                categories=tuple(row.get("categories") or ()),
                keywords=tuple(row.get("ai_keywords") or ()),
                upvotes=int(draw.paretovariate(0.9)) - 1,
            )


def queries(rows: list[dict[str, Any]], wanted: int) -> list[Expression]:
    """Distinct queries, the most followed first: the catalogue, then what people type."""
    found: dict[str, Expression] = {}
    for topic in catalogue.load().topics():
        expression = parse(topic.query)
        found[canonical(expression)] = expression
    for typed in _typed(rows):
        if len(found) >= wanted:
            break
        try:
            expression = parse(typed)
        except QueryError:
            continue
        found.setdefault(canonical(expression), expression)
    assert len(found) >= wanted, f"only {len(found)} distinct queries could be made"
    return list(found.values())[:wanted]


def _typed(rows: list[dict[str, Any]]) -> Iterator[str]:
    draw = random.Random(5)
    categories = sorted({each for row in rows for each in row.get("categories") or ()})
    while True:
        row = draw.choice(rows)
        kind = draw.random()
        keyword = draw.choice(row.get("ai_keywords") or [_run(draw, row["title"], 2)])
        if kind < 0.30:
            yield f'"{keyword}"'
        elif kind < 0.50:
            yield f'"{_run(draw, row["title"], draw.randint(2, 3))}"'
        elif kind < 0.62:
            yield _run(draw, row["title"], 2)
        elif kind < 0.74:
            yield f'"{keyword}" OR "{_run(draw, draw.choice(rows)["title"], 2)}"'
        elif kind < 0.84 and row.get("authors"):
            yield f'author:"{draw.choice(row["authors"])}"'
        elif kind < 0.92:
            yield f'"{keyword}" -{_run(draw, draw.choice(rows)["title"], 1)}'
        elif kind < 0.97 and categories:
            yield f"cat:{draw.choice(categories)} {_run(draw, row['title'], 1)}"
        else:
            yield f"{_run(draw, row['title'], 1)[:6]}* {_run(draw, row['title'], 1)}"


def _run(draw: random.Random, text: str, length: int) -> str:
    words = text.replace('"', " ").replace(":", " ").split()
    at = draw.randrange(max(len(words) - length, 0) + 1)
    return " ".join(words[at : at + length])
