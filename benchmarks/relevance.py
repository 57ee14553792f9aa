"""How well queries find the papers they mean: precision and recall against labels, beside two plain ways of matching.

    python -m benchmarks.relevance --json
    python -m benchmarks.relevance --labels other.jsonl.gz --json

The labels are the ``ai_keywords`` of Daily Papers (one JSON object a line: ``title``, ``abstract``, ``ai_keywords``,
``daily_date``; gzipped or not). They were written by a language model that read each abstract and named about seven
things in it. The index of ours holds title and abstract only: keywords are the answer here, so they are not indexed.

**Keywords** are the sixty labels that most papers of the first half of the dates carry, chosen by that number alone.
Labels of the form "Low-Rank Adaptation (LoRA)" teach which acronym stands for which keyword; a keyword with acronyms is
asked for as ``"low rank adaptation" OR lora``. This is all that the benchmark tunes, on the first half; the choice is
kept in ``benchmarks/keywords.toml`` (``--tune`` writes it anew), and the second half is reported. Another file is
evaluated as it is, by the same keywords; where fewer than forty of them occur in it, its own most frequent labels fill
up.

**A paper is positive** for a keyword when one of its labels has one of the keyword's forms as a run of whole words
("latent diffusion models" has "diffusion model"), after a folding that is *not* the product's: lower case, a final s
off, everything but letters and digits out, so that hyphens and spaces make no difference. Every other labelled paper is
negative, even where its abstract is full of the word: the labels name seven things and not all, which bounds the
precision that any matching by text can reach (decision 032). Of sixty of our false positives of the second half, drawn
by lot and read, all sixty had the keyword in its own meaning in title or abstract; what they lacked was the label.

**Topics** of the catalogue are held against label words written by hand below, as a reader would name the topic.

**Operating points.** "ours" is what a keyword means as it is typed: every mention. The same keywords are asked for once
more behind ``about:``, which leaves passing mentions out, and behind ``title:``; pooled too, over all pairs of keyword
and paper, for the means count a keyword of one paper like one of three hundred. What ``about:`` means was chosen on the
first half alone. The words that the normaliser makes one (decision 017) were chosen with a look at both halves.

The peers look for the same forms, written as the labels mostly write them: as substrings of the lower-case text, and
between word boundaries.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
import tomllib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from service.matching.index import IndexedPaper, PaperIndex
from service.matching.language import parse, terms
from service.subscribers.topics import catalogue

LABELS: Final = Path(__file__).parents[2] / "shared" / "data" / "hf_daily.jsonl.gz"
KEYWORDS: Final = Path(__file__).with_name("keywords.toml")
CHOSEN: Final = 60
FEWEST: Final = 40

TOPIC_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "diffusion-models": ("diffusion", "denoising", "flow matching", "score distillation"),
    "vision-language": ("vision language", "multimodal", "vlm", "mllm", "visual question answering", "lmm"),
    "image-generation": ("text to image", "image generation", "image editing", "image synthesis", "stable diffusion"),
    "video": ("video",),
    "3d-vision": ("3d", "gaussian splatting", "nerf", "radiance field", "novel view", "depth estimation", "mesh"),
    "speech": ("speech", "tts", "asr", "speaker"),
    "music": ("music", "musical", "midi"),
    "code": ("code", "programming", "humaneval", "swe bench", "program synthesis"),
    "rag": ("retrieval augmented", "rag"),
    "reinforcement-learning": ("reinforcement learning", "policy gradient", "q learning", "actor critic", "ppo"),
    "robot-learning": ("robot", "robotic", "manipulation", "imitation learning", "embodied", "grasping"),
    "mixture-of-experts": ("mixture of expert", "moe"),
    "long-context": ("long context", "context length", "context window", "length extrapolation"),
    "alignment": ("rlhf", "human feedback", "preference optimization", "dpo", "reward model", "alignment"),
    "machine-translation": ("machine translation", "translation"),
}
"""A topic's words in the labels: what makes a labelled paper one of the topic's."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A paper with its labels, folded plainly."""

    title: str
    abstract: str
    day: str
    labels: Mapping[str, str]
    """Each label folded, with the way it is written."""
    runs: frozenset[str]
    """Every run of words in a label, written in one."""
    pairs: tuple[tuple[str, str], ...]
    """(acronym, full name), folded, where a label gives both."""


@dataclass(frozen=True, slots=True)
class Keyword:
    """What is asked for, in all its forms."""

    name: str
    """Folded."""
    forms: tuple[str, ...]
    """As written by readers: the name, then its acronyms."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query on one set of papers by one way of matching."""

    both: int
    """Papers found that are positive."""
    found: int
    right: int

    @property
    def precision(self) -> float:
        return self.both / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.both / self.right if self.right else 0.0


class LabelsError(Exception):
    """A file of labels that cannot be used. One line."""


def plain(text: str) -> str:
    """The folding of the labels: deliberately not the product's normaliser."""
    return " ".join(_singular(word) for word in re.findall(r"[^\W_]+", text.lower()))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "is", "us")) else word


def read(path: Path) -> list[Labelled]:
    """The papers of a file that have labels. Raises :class:`LabelsError`."""
    papers = []
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise LabelsError(f"{path.name}: line {number} is no JSON object")
            if row.get("title") and isinstance(row.get("ai_keywords"), list) and row["ai_keywords"]:
                papers.append(_labelled(row))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise LabelsError(f"{path.name} cannot be read: {error}") from error
    if not papers:
        raise LabelsError(f"{path.name}: no line has a title and ai_keywords")
    return papers


def _labelled(row: Mapping[str, Any]) -> Labelled:
    labels: dict[str, str] = {}
    pairs = []
    for label in row["ai_keywords"]:
        both = re.fullmatch(r"(.*\S)\s*\(([^()]+)\)\s*", str(label))
        writings = both.groups() if both else (str(label),)
        folded = [plain(each) for each in writings]
        labels |= {name: writing.strip().lower() for name, writing in zip(folded, writings, strict=True) if name}
        if len(folded) == 2 and folded[1] and " " not in folded[1] and len(folded[1]) < len(folded[0]):
            pairs.append((folded[1], folded[0]))
    day = str(row.get("daily_date") or row.get("published") or "")[:10]
    runs = frozenset(run for name in labels for run in _runs(name.split()))
    return Labelled(str(row["title"]), str(row.get("abstract") or ""), day, labels, runs, tuple(pairs))


def _runs(words: Sequence[str]) -> Iterator[str]:
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield "".join(words[start:end])


def halves(papers: Sequence[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """The papers of the first and of the second half of the dates."""
    days = sorted({paper.day for paper in papers})
    first = set(days[: len(days) // 2])
    return [paper for paper in papers if paper.day in first], [paper for paper in papers if paper.day not in first]


def chosen(papers: Sequence[Labelled]) -> list[Keyword]:
    """The most frequent labels, each with the acronyms that two labels or more give it."""
    taught = Counter(pair for paper in papers for pair in set(paper.pairs))
    full: dict[str, str] = {}
    for (acronym, name), number in sorted(taught.items(), key=lambda each: (-each[1], each[0])):
        if number >= 2:
            full.setdefault(acronym, name)
    counted = Counter(name for paper in papers for name in {full.get(label, label) for label in paper.labels})
    writings = Counter(writing for paper in papers for writing in paper.labels.items())
    usual: dict[str, str] = {}
    for (name, writing), _ in sorted(writings.items(), key=lambda each: (-each[1], each[0])):
        usual.setdefault(name, writing)
    names = sorted(counted, key=lambda name: (-counted[name], name))[:CHOSEN]
    return [
        Keyword(name, tuple(usual[each] for each in (name, *sorted(short for short in full if full[short] == name))))
        for name in names
    ]


def kept() -> list[Keyword]:
    """The keywords as tuned."""
    table = tomllib.loads(KEYWORDS.read_text(encoding="utf-8"))
    return [Keyword(row["name"], tuple(row["forms"])) for row in table["keyword"]]


def written(keywords: Iterable[Keyword]) -> str:
    """The text of ``keywords.toml``."""
    head = "# Written by `python -m benchmarks.relevance --tune` from the first half of the labels.\n"
    return head + "".join(
        f"\n[[keyword]]\nname = {json.dumps(each.name)}\nforms = {json.dumps(list(each.forms))}\n" for each in keywords
    )


def positive(papers: Sequence[Labelled], forms: Iterable[str]) -> set[int]:
    """The papers, by position, of which a label has one of the forms as a run of whole words."""
    wanted = {plain(form).replace(" ", "") for form in forms}
    return {number for number, paper in enumerate(papers) if not wanted.isdisjoint(paper.runs)}


POINTS: Final[Mapping[str, str]] = {"about": "about:", "title": "title:"}
"""Stricter ways to ask for a keyword, by what is written before each of its forms."""


class Ways:
    """The ways of matching over one set of papers."""

    def __init__(self, papers: Sequence[Labelled]) -> None:
        self._texts = [f"{paper.title}\n{paper.abstract}".lower() for paper in papers]
        self._index = PaperIndex.build(
            IndexedPaper(number, paper.title, paper.abstract) for number, paper in enumerate(papers)
        )

    def ours(self, query: str) -> set[int]:
        return set(self._index.search(parse(query)).paper_ids.tolist())

    def substring(self, forms: Iterable[str]) -> set[int]:
        wanted = list(forms)
        return self._where(lambda text: any(form in text for form in wanted))

    def boundary(self, forms: Iterable[str]) -> set[int]:
        wanted = re.compile(r"\b(?:" + "|".join(re.escape(form) for form in forms) + r")\b")
        return self._where(lambda text: wanted.search(text) is not None)

    def _where(self, found: Callable[[str], bool]) -> set[int]:
        return {number for number, text in enumerate(self._texts) if found(text)}


def outcome(found: set[int], right: set[int]) -> Outcome:
    return Outcome(len(found & right), len(found), len(right))


def evaluated(papers: Sequence[Labelled], keywords: Sequence[Keyword]) -> dict[str, Any]:
    """Every keyword and topic that has a positive among the papers, and the means over them."""
    ways = Ways(papers)
    asked: list[tuple[str, str, str, tuple[str, ...], tuple[str, ...]]] = []
    for keyword in keywords:
        query = " OR ".join(f'"{form}"' for form in keyword.forms)
        asked.append(("keyword", keyword.name, query, keyword.forms, keyword.forms))
    for slug, words in TOPIC_LABELS.items():
        topic = catalogue.load().find(slug)
        if topic is None:
            raise LabelsError(f"the catalogue has no topic {slug}")
        said = tuple(" ".join(term.words) for term in terms(parse(topic.query)))
        asked.append(("topic", slug, topic.query, said, words))
    rows = []
    for kind, name, query, forms, words in asked:
        right = positive(papers, words)
        if not right:
            continue
        found = ways.ours(query)
        stricter = {
            point: outcome(ways.ours(" OR ".join(f'{before}"{form}"' for form in forms)), right)
            for point, before in POINTS.items()
            if kind == "keyword"
        }
        rows.append(
            {
                "kind": kind, "name": name, "positive": len(right), "found": len(found),
                "ours": outcome(found, right),
                "substring": outcome(ways.substring(forms), right),
                "word_boundary": outcome(ways.boundary(forms), right),
                **stricter,
            }
        )  # fmt: skip
    return {"rows": rows} | {
        kind: _means([row for row in rows if row["kind"] == kind]) for kind in ("keyword", "topic")
    }


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    means: dict[str, Any] = {"queries": len(rows)}
    for way in ("ours", "substring", "word_boundary", *POINTS):
        if rows and way in rows[0]:
            means[way] = {
                "precision": round(fmean(row[way].precision for row in rows), 4),
                "recall": round(fmean(row[way].recall for row in rows), 4),
            }
    return means


def operating_points(result: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`evaluated` gives of keywords, by how they are asked for."""
    ways = {"every mention": "ours"} | {before: point for point, before in POINTS.items()}
    return {
        name: {**result["keyword"].get(way, {}), "pooled": _pooled(result["rows"], way)} for name, way in ways.items()
    }


def _pooled(rows: Iterable[Mapping[str, Any]], way: str) -> dict[str, float]:
    """Over all pairs of keyword and paper at once, so that a keyword of three papers weighs as three."""
    every = [row[way] for row in rows if row["kind"] == "keyword"]
    together = Outcome(sum(each.both for each in every), sum(each.found for each in every),
                       sum(each.right for each in every))  # fmt: skip
    return {"precision": round(together.precision, 4), "recall": round(together.recall, 4)}


def filled_up(keywords: Sequence[Keyword], papers: Sequence[Labelled]) -> list[Keyword]:
    """The keywords that have a positive here, and the papers' own most frequent labels where those are too few."""
    present = [keyword for keyword in keywords if positive(papers, keyword.forms)]
    named = {keyword.name for keyword in present}
    own = (keyword for keyword in chosen(papers) if keyword.name not in named)
    return present + [keyword for keyword, _ in zip(own, range(max(0, FEWEST - len(present))), strict=False)]


def _table(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'':44} positive found   ours P/R    substring   boundary"
    for row in rows:
        figures = "   ".join(
            f"{row[way].precision:.2f}/{row[way].recall:.2f}" for way in ("ours", "substring", "word_boundary")
        )
        yield f"{row['kind'] + ' ' + row['name']:44} {row['positive']:8} {row['found']:5}   {figures}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.relevance", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--labels", type=Path, help="another file of the same shape, evaluated whole and without tuning"
    )
    parser.add_argument("--tune", action="store_true", help="choose the keywords anew from the first half of the dates")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args()
    try:
        if options.labels is None:
            first, papers = halves(read(LABELS))
            if options.tune:
                KEYWORDS.write_text(written(chosen(first)), encoding="utf-8")
        else:
            papers = read(options.labels)
        keywords = filled_up(kept(), papers)
        result = evaluated(papers, keywords)
    except LabelsError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.json:
        print("\n".join(_table(result["rows"])))
    means = result["keyword"]
    best = max(("substring", "word_boundary"), key=lambda way: _balance(means[way]))
    line = {
        "bench": "relevance",
        "unit": "F1 of mean precision and mean recall, keywords",
        "ours": round(_balance(means["ours"]), 4),
        "peer": round(_balance(means[best]), 4),
        "ratio": round(_balance(means["ours"]) / max(_balance(means[best]), 1e-9), 3),
        "best_peer": best,
        "precision": means["ours"]["precision"],
        "recall": means["ours"]["recall"],
        "queries": len(result["rows"]),
        "papers": len(papers),
        "operating_points": operating_points(result),
        "keywords": means,
        "topics": result["topic"],
    }
    print(json.dumps(line))
    return 0


def _balance(mean: Mapping[str, float]) -> float:
    total = mean["precision"] + mean["recall"]
    return 2 * mean["precision"] * mean["recall"] / total if total else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
