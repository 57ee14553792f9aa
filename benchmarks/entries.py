"""What the suite measures: the command of each benchmark, its peer in words, and the goals it is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = Mapping[str, Any]
"""The JSON line of a benchmark."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and how far it must reach."""

    what: str
    read: Callable[[Row], float]
    """Raises KeyError where the benchmark does not tell it."""
    least: float | None = None
    most: float | None = None
    unit: str = ""

    def reached(self, row: Row) -> tuple[float, bool] | None:
        """The figure, and whether it is good enough; None where the row does not tell it."""
        try:
            figure = float(self.read(row))
        except (KeyError, TypeError, ZeroDivisionError):
            return None
        return figure, (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)

    @property
    def bound(self) -> str:
        """``≥ 3 times``."""
        sign, limit = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {limit:,g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark of the suite."""

    name: str
    what: str
    peer: str
    module: str
    full: Sequence[str] = ()
    quick: Sequence[str] | None = ()
    """Arguments of the smallest form; None: it has none, and a quick run leaves it out."""
    goals: Sequence[Goal] = ()

    def arguments(self, *, quick: bool) -> list[str]:
        """For the interpreter."""
        return ["-m", f"benchmarks.{self.module}", *((self.quick or ()) if quick else self.full), "--json"]


def _times(row: Row, case: str, ours: str, theirs: str) -> float:
    return float(row["cases"][case][ours] / row["cases"][case][theirs])


_SQL: Final = "the same in PostgreSQL: joins, aggregates and windows"
_PAGES: Final = (
    Goal("day page, 99th percentile", lambda row: row["day"]["p99"], most=50, unit="ms"),
    Goal("search, 99th percentile", lambda row: row["search"]["p99"], most=100, unit="ms"),
    Goal("preview, 99th percentile", lambda row: row["preview"]["p99"], most=100, unit="ms"),
)
ENTRIES: Final = (
    Entry(
        "ingest",
        "papers from JSON Lines into the tables",
        "SQLAlchemy's ORM, get-or-create by row",
        "ingest",
        quick=("--papers", "300"),
        goals=(
            Goal("10,000 papers", lambda row: row["seconds"] * 10_000 / row["papers"], most=10, unit="s"),
            Goal("a feed of 1,000 papers", lambda row: row["feed_seconds"], most=2, unit="s"),
        ),
    ),
    Entry(
        "match",
        "1,000 papers against 100,000 distinct queries, to committed rows",
        "the queries one by one over a tantivy index, nothing written",
        "match",
        quick=None,
        goals=(Goal("all of it", lambda row: row["ours"], most=3, unit="s"),),
    ),
    Entry(
        "plan-10k",
        "10,000 readers with five interests each, to committed digests",
        _SQL,
        "plan",
        full=("--readers", "10000"),
        quick=("--readers", "200", "--alone"),
    ),
    Entry(
        "plan-100k",
        "100,000 readers",
        _SQL,
        "plan",
        full=("--readers", "100000"),
        quick=None,
        goals=(Goal("against SQL", lambda row: row["ratio"], least=5, unit="times"),),
    ),
    Entry(
        "plan-1m",
        "1,000,000 readers",
        "not asked: it takes minutes and gigabytes for a tenth",
        "plan",
        full=("--readers", "1000000", "--alone"),
        quick=None,
        goals=(
            Goal("all of it", lambda row: row["ours"], most=20, unit="s"),
            Goal("memory", lambda row: row["peak_mib"], most=1024, unit="MiB"),
        ),
    ),
    Entry(
        "relevance",
        "queries against labelled papers",
        "the better of substring and word-boundary search",
        "relevance",
        goals=(
            Goal("precision", lambda row: row["precision"], least=0.85),
            Goal("recall", lambda row: row["recall"], least=0.93),
        ),
    ),
    Entry(
        "preview",
        "a preview over thirty days of papers",
        "a scan with compiled regular expressions",
        "preview",
        quick=("--rounds", "4"),
        goals=(
            Goal("99th percentile", lambda row: row["ours"], most=100, unit="ms"),
            Goal("the worst query a stranger types", lambda row: row["hostile"], most=50, unit="ms"),
        ),
    ),
    Entry(
        "compose",
        "a digest composed and signed",
        "EmailMessage, Jinja and dkimpy for each message",
        "compose",
        quick=("--rounds", "1"),
        goals=(
            Goal("composed", lambda row: row["unsigned"], most=0.1, unit="ms"),
            Goal("composed and signed", lambda row: row["ours"], most=0.5, unit="ms"),
            Goal("size in the mean", lambda row: row["mean_bytes"] / 1024, most=40, unit="KB"),
        ),
    ),
    Entry(
        "send",
        "messages of 10 KB over 16 connections to a sink",
        "smtplib in as many threads",
        "send",
        quick=("--rounds", "1", "--only", "10kb_16"),
        goals=(
            Goal("against a bare pipelined loop", lambda row: row["bare_ratio"], least=0.8, unit="times"),
            Goal("against smtplib in threads", lambda row: row["ratio"], least=1.5, unit="times"),
            Goal(
                "against it at 20 ms, 10 KB",
                lambda row: _times(row, "20ms_10kb_64", "ours", "smtplib"),
                least=3,
                unit="times",
            ),
            Goal(
                "against it at 20 ms, 40 KB",
                lambda row: _times(row, "20ms_40kb_64", "ours", "smtplib"),
                least=3,
                unit="times",
            ),
        ),
    ),
    Entry(
        "round",
        "plan, compose, sign, send and record 100,000 readers' digests",
        "EmailMessage and smtplib in threads; nothing planned, signed or recorded",
        "round",
        full=("--readers", "100000"),
        quick=("--readers", "500"),
        goals=(
            Goal("all of it", lambda row: row["ours"], least=2_500, unit="digests/s"),
            Goal("memory of everything", lambda row: row["peak_mib"], most=1024, unit="MiB"),
        ),
    ),
    Entry(
        "senders",
        "two sender processes in folders of their own, over one PostgreSQL and one Redis",
        "one such process",
        "senders",
        quick=("--messages", "600", "--counts", "1", "2", "--rounds", "1"),
    ),
    Entry(
        "import",
        "1,000,000 rows with two interests each, one in a hundred bad, killed in the middle and resumed",
        "add_confirmed for each row, a commit every 500",
        "imports",
        quick=("--rows", "20000", "--peer-rows", "20"),
        goals=(
            Goal("rows in a second", lambda row: row["ours"], least=20_000, unit="rows/s"),
            Goal("rows lost, repeated or wrongly listed", lambda row: row["wrong"], most=0),
        ),
    ),
    Entry(
        "web",
        "the day's page, fifty requests at once, a year of papers",
        "FastAPI, SQLAlchemy and Jinja, nothing kept",
        "web",
        quick=("--papers", "1000", "--rounds", "1"),
        goals=_PAGES,
    ),
    Entry(
        "web-two",
        "the same from two web processes (`PAPERROUND_WEB_WORKERS=2`), one for each core",
        "FastAPI, SQLAlchemy and Jinja, nothing kept",
        "web",
        full=("--workers", "2"),
        quick=None,
        goals=_PAGES,
    ),
)
