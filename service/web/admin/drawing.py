"""Charts as figures to be drawn: from numbers by day to rectangles and lines. Pure; the template writes the SVG.

A chart library would bring styles and scripts of its own, which the site's policy forbids, and no words for who cannot
see it (decision 034).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 150
_GAP: Final = 0.2
"""Of a day's width, left free between bars."""


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers, a day each; None where a day has none."""

    label: str
    colour: str
    """A class of the style sheet: fill, fill2, fill-bad."""
    values: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Chart:
    """All that a chart shows, in the units of its view box (``WIDTH`` by ``HEIGHT``)."""

    title: str
    said: str
    """What it shows in words."""
    series: tuple[Series, ...]
    bars: tuple[Bar, ...]
    line: str
    """Points of a polyline; empty for bars."""
    top: int
    """The number at its upper edge."""
    first: date
    last: date


def bars(title: str, days: Sequence[date], *series: Series) -> Chart:
    """Bars from nought, one beside the other for each day."""
    top = max((value or 0 for each in series for value in each.values), default=0)
    step = WIDTH / max(len(days), 1)
    width = step * (1 - _GAP) / len(series)
    drawn = [
        Bar(
            round(place * step + step * _GAP / 2 + number * width, 2),
            round(HEIGHT - HEIGHT * value / top, 2),
            round(width, 2),
            round(HEIGHT * value / top, 2),
            each.colour,
        )
        for number, each in enumerate(series)
        for place, value in enumerate(each.values)
        if value
    ]
    return Chart(title, _said(series, days), series, tuple(drawn), "", top, days[0], days[-1])


def line(title: str, days: Sequence[date], series: Series) -> Chart:
    """A line from nought; days without a number are passed over."""
    top = max((value or 0 for value in series.values), default=0)
    step = WIDTH / max(len(days) - 1, 1)
    points = " ".join(
        f"{place * step:.2f},{HEIGHT - (HEIGHT * value / top if top else 0):.2f}"
        for place, value in enumerate(series.values)
        if value is not None
    )
    return Chart(title, _said((series,), days), (series,), (), points, top, days[0], days[-1])


def _said(series: Sequence[Series], days: Sequence[date]) -> str:
    parts = []
    for each in series:
        known = [value for value in each.values if value is not None]
        if known:
            parts.append(f"{each.label}: {known[-1]:,} on the last day, between {min(known):,} and {max(known):,}")
    return f"{days[0]} to {days[-1]}. " + "; ".join(parts) + "."
