"""docs/benchmarks.md and its plots, from the kept results of the suite."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks import plots
from benchmarks.entries import ENTRIES, Entry, Goal

Results = Mapping[str, Mapping[str, Any]]
IDLE: Final = 0.5
"""Load for each core up to which a machine counts as idle."""


def write(into: Path, results: Results) -> None:
    """Write the page and its plots; what was not measured is said to be missing."""
    into.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(into / "benchmarks", {name: result["row"] for name, result in results.items()})
    (into / "benchmarks.md").write_text("\n".join(_lines(results, drawn)) + "\n", encoding="utf-8")


def _lines(results: Results, drawn: Mapping[str, str]) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench`; `python -m benchmarks.suite --only NAME` measures one again. Each benchmark runs"
    yield "alone, in a process of its own, with its peer beside it in the same run; what exactly is measured stands at"
    yield "the head of `benchmarks/<module>.py`. The raw lines are in [results.json](benchmarks/results.json)."
    yield ""
    if any(result["quick"] for result in results.values()):
        yield "**This is a quick run: it shows that the benchmarks run, not how fast anything is.**"
        yield ""
    yield from _machines(results)
    yield "## Figures"
    yield ""
    yield "The ratio says how many times better ours is than the peer."
    yield ""
    yield "| benchmark | what | ours | peer | ratio | the peer is |"
    yield "|---|---|---|---|---|---|"
    for entry in ENTRIES:
        yield _figures(entry, results.get(entry.name))
    yield ""
    yield "## Goals"
    yield ""
    yield "| benchmark | figure | goal | measured | met |"
    yield "|---|---|---|---|---|"
    for entry in ENTRIES:
        for goal in entry.goals:
            yield _goal(entry, goal, results.get(entry.name))
    yield ""
    for file, caption in drawn.items():
        yield f"![{caption}](benchmarks/{file})"
        yield ""


def _machines(results: Results) -> Iterator[str]:
    yield "## The machine"
    yield ""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, result in results.items():
        groups.setdefault(tuple(result["machine"].items()), []).append(name)
    for facts, names in groups.items():
        if len(groups) > 1:
            yield f"{', '.join(names)}:"
            yield ""
        yield "| | |"
        yield "|---|---|"
        for key, value in facts:
            yield f"| {key} | {value} |"
        yield ""
    loaded = [
        f"{name} ({result['load_before']})"
        for name, result in results.items()
        if result["load_before"] > IDLE * int(result["machine"].get("cores") or os.cpu_count() or 1)
    ]
    # The suite itself leaves a load average behind; only far more than one busy process says that others worked.
    if loaded:
        yield f"Load average before a benchmark began, where the machine was not idle: {', '.join(loaded)}."
        yield ""


def _figures(entry: Entry, result: Mapping[str, Any] | None) -> str:
    if result is None:
        return f"| {entry.name} | {entry.what} | not measured | | | {entry.peer} |"
    row = result["row"]
    peer = "" if row.get("peer") is None else f"{row['peer']:,}"
    ratio = "" if row.get("ratio") is None else f"{row['ratio']:,}"
    return f"| {entry.name} | {entry.what} | {row['ours']:,} {row['unit']} | {peer} | {ratio} | {entry.peer} |"


def _goal(entry: Entry, goal: Goal, result: Mapping[str, Any] | None) -> str:
    found = None if result is None else goal.reached(result["row"])
    if found is None:
        return f"| {entry.name} | {goal.what} | {goal.bound} | not measured | |"
    figure, met = found
    return f"| {entry.name} | {goal.what} | {goal.bound} | {_written(figure)} | {'yes' if met else '**no**'} |"


def _written(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 or figure == int(figure) else f"{figure:,.3g}"
