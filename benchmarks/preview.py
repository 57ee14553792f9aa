"""How long a preview takes, and how long the worst queries a stranger can type take to be answered.

    python -m benchmarks.preview --json

10,000 papers listed over thirty days (real ones where ../shared/data is present, over and over; else invented) in the
archive's index, as the site holds it. Each preview asks for one to eight interests of the catalogue, and sometimes a
query that is being typed; ``ours`` is the 99th percentile of what the site computes for it, from the queries' text to
the papers with their marks, in milliseconds, one after another as a site gets them, the first with nothing kept;
``nothing_kept`` is the same where all that was kept is forgotten before each, as right after papers came in. Over HTTP
and under load: ``benchmarks.web``. ``peer`` is the same counts by a scan of the same papers with compiled
regular expressions. ``hostile`` is the slowest answer, in milliseconds, to each kind of bad input: refused, or run over
all papers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from service.matching import language, marking
from service.matching.expression import Expression, terms
from service.matching.index import IndexedPaper, PaperIndex
from service.matching.language import QueryError
from service.matching.preview import Preview, Wanted, preview
from service.matching.search import Archive
from service.papers.samples import SampleSource
from service.subscribers.topics import catalogue

PAPERS: Final = 10_000
DAYS: Final = 30
LAST_DAY: Final = date(2026, 1, 31)
REAL: Final = Path(__file__).parents[2] / "shared" / "data" / "arxiv_papers.jsonl.gz"
PEER_ROUNDS: Final = 5

TYPED: Final = (
    "diff", "diffusion", '"speculative decoding"', "robot* -survey", "title:benchmark cat:cs.CL", "llm agent",
    "neuro* OR brain", 'author:"Wei Wang"',
)  # fmt: skip
HOSTILE: Final = {
    "10,000 characters": "diffusion " * 1_000,
    "1,000 clauses": " OR ".join(f"w{number}" for number in range(1_000)),
    "100 clauses": " OR ".join(f"w{number}a" for number in range(100)),
    "200 parentheses": "(" * 200 + "model" + ")" * 200,
    "leading wildcard": "*odel",
    "only negations": "-a -b NOT c",
    "only stop words": "the of and with",
    "control characters": "model\x00\x07",
    "ten short beginnings": " OR ".join(f"{letters}*" for letters in "co re de in pr mo di tr st pe".split()),
    "ten short beginnings, all of them": " ".join(f"{letters}*" for letters in "co re de in pr mo di tr st pe".split()),
    "ten beginnings, as many as allowed": " OR ".join(
        f"{start}*" for start in "comp cont repr dist prob mode trai stru perf info".split()
    ),
    "five beginnings of three letters": " OR ".join(f"{start}*" for start in "com con rep pro mod".split()),
    "a long phrase": '"' + "model of the " * 90 + '"',
    "a long word": "a" * 1_999,
    "quotation marks": '"' * 1_999,
    "minus signs": "-" * 1_999,
    "colons": "title:" * 300,
    "stars": "a*" * 900,
}


class Fixed(Archive):
    """The archive's searches over papers of no database."""

    def __init__(self, index: PaperIndex) -> None:
        self._index = index

    def refresh(self) -> None:
        """Nothing arrives."""


def papers() -> Iterator[IndexedPaper]:
    """``PAPERS`` papers, the same number on each day."""
    if REAL.exists():
        with gzip.open(REAL, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        texts = [(row["title"], row["abstract"], tuple(row["authors"]), tuple(row["categories"])) for row in rows]
    else:
        samples = [sample for sample in SampleSource().fetch(date.min) if hasattr(sample, "title")]
        texts = [(each.title, each.abstract, each.authors, each.categories) for each in samples]
    for number in range(PAPERS):
        title, abstract, authors, categories = texts[number % len(texts)]
        yield IndexedPaper(
            id=number + 1,
            title=title,
            abstract=abstract,
            authors=authors,
            categories=categories,
            listed_on=LAST_DAY - timedelta(days=number * DAYS // PAPERS),
        )


@lru_cache(maxsize=1_000)
def parsed(text: str) -> Expression:
    """Topics are parsed once by the site, too."""
    return language.parse(text)


class Site:
    """One preview after another, with what the site keeps between them."""

    def __init__(self, index: PaperIndex, all_papers: list[IndexedPaper]) -> None:
        self.archive = Fixed(index)
        self._papers = {paper.id: paper for paper in all_papers}
        self._read: dict[int, tuple[marking.Reading, marking.Reading]] = {}

    def forget(self) -> None:
        """As right after papers changed, all of them."""
        self.archive._index.replace(())
        self._read.clear()

    def preview(self, texts: list[str], topics: frozenset[str]) -> Preview:
        wanted = [Wanted(text, parsed(text) if text in topics else language.parse(text)) for text in texts]
        made = preview(self.archive, wanted, days=DAYS)
        for example in made.examples:
            paper = self._papers[example.paper_id]
            if paper.id not in self._read:
                self._read[paper.id] = marking.read(paper.title), marking.read(paper.abstract)
            title, abstract = self._read[paper.id]
            words = list(dict.fromkeys(term for at in example.by for term in terms(wanted[at].expression)))
            marking.pieces(paper.title, marking.found(title, marking.in_field(words, "title")))
            marking.excerpt(paper.abstract, marking.found(abstract, marking.in_field(words, "abstract")), 220)
        return made


def scanned(texts: list[str], all_papers: list[IndexedPaper]) -> dict[date, int]:
    """The counts by day as a scan finds them: any of the words, whole, in any case."""
    words = {" ".join(term.words) for text in texts for term in terms(language.parse(text))}
    pattern = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, words or {"paper"}))) + r")\b", re.IGNORECASE)
    counts: dict[date, int] = {}
    for paper in all_papers:
        if pattern.search(paper.title) or pattern.search(paper.abstract):
            counts[paper.listed_on] = counts.get(paper.listed_on, 0) + 1
    return counts


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def hostile(archive: Archive, text: str) -> Preview | None:
    try:
        expression = language.parse(text)
    except QueryError:
        return None
    return preview(archive, [Wanted("", expression)], days=DAYS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preview")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args()
    chance = random.Random(5)
    all_papers = list(papers())
    start = time.perf_counter()
    site = Site(PaperIndex.build(all_papers), all_papers)
    built = time.perf_counter() - start
    topics = [topic.query for group in catalogue.load().groups for topic in group.topics]
    known = frozenset(topics)
    asks = [
        [*chance.sample(topics, chance.randint(1, 8)), *([chance.choice(TYPED)] if chance.random() < 0.5 else [])]
        for _ in range(options.rounds)
    ]
    taken, peer, unkept = [], [], []
    for number, texts in enumerate(asks):
        taken.append(milliseconds(lambda texts=texts: site.preview(texts, known)))  # type: ignore[misc]
        if number % max(1, options.rounds // PEER_ROUNDS) == 0:
            peer.append(milliseconds(lambda texts=texts: scanned(texts, all_papers)))  # type: ignore[misc]
    for texts in asks[: max(2, options.rounds // 4)]:
        site.forget()
        unkept.append(milliseconds(lambda texts=texts: site.preview(texts, known)))  # type: ignore[misc]
    taken.sort()
    worst = {
        kind: round(max(milliseconds(lambda text=text: hostile(site.archive, text)) for _ in range(5)), 2)  # type: ignore[misc]
        for kind, text in HOSTILE.items()
    }
    if not options.json:
        for kind, most in worst.items():
            print(f"{kind:36} {most:8.2f} ms")
    p99 = taken[min(len(taken) - 1, len(taken) * 99 // 100)]
    line = {
        "bench": "preview",
        "unit": "ms, 99th percentile",
        "ours": round(p99, 2),
        "peer": round(median(peer), 2),
        "ratio": round(median(peer) / p99, 1),
        "p50": round(median(taken), 2),
        "nothing_kept": {"p50": round(median(unkept), 2), "p99": round(quantiles(unkept, n=100)[98], 2)},
        "papers": len(all_papers),
        "real_papers": REAL.exists(),
        "rounds": len(taken),
        "index_seconds": round(built, 2),
        "hostile": max(worst.values()),
        "hostile_kinds": worst,
    }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
