"""The plots of the page: SVG without scripts, drawn by pygal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pygal
from pygal.style import Style

_STYLE: Final = Style(
    background="#ffffff", plot_background="#ffffff", font_family="system-ui, sans-serif",
    colors=("#1f4e9c", "#c0504d", "#7a9a3a", "#8064a2", "#808080"), title_font_size=18, value_font_size=12,
)  # fmt: skip
_CASES: Final = {
    "10kb_1": "10 KB, 1 connection", "10kb_16": "10 KB, 16", "40kb_1": "40 KB, 1", "40kb_16": "40 KB, 16",
    "20ms_10kb_64": "10 KB, 64, 20 ms", "20ms_40kb_64": "40 KB, 64, 20 ms",
}  # fmt: skip
_CLIENTS: Final = {
    "ours": "Paperround", "smtplib": "smtplib in threads", "aiosmtplib": "aiosmtplib", "smtp_source": "smtp-source (C)",
    "bare": "bare pipelined loop",
}  # fmt: skip


def draw(folder: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Draw what there are rows for; return captions by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    charts = {
        "plan.svg": ("Planning: seconds by readers", _plan(rows)),
        "send.svg": ("Sending: messages a second at the sink", _send(rows.get("send"))),
        "senders.svg": ("Sender processes: messages a second at the sink", _senders(rows.get("senders"))),
    }
    drawn = {}
    for file, (caption, chart) in charts.items():
        if chart is not None:
            chart.title = caption
            chart.add_xml_filter(_without_scripts)
            (folder / file).write_bytes(chart.render())
            drawn[file] = caption
    return drawn


def _without_scripts(root: Any) -> Any:
    """pygal's own configuration is a script, of no use without the other that it would fetch from its makers' site."""
    for parent in list(root.iter()):
        for child in [each for each in parent if str(each.tag).endswith("script")]:
            parent.remove(child)
    return root


def _settings(**more: Any) -> dict[str, Any]:
    # With ids that do not change from one drawing to the next.
    return {"js": (), "style": _STYLE, "width": 860, "height": 460, "pretty_print": True, "no_prefix": True,
            "legend_at_bottom": True, **more}  # fmt: skip


def _plan(rows: Mapping[str, Mapping[str, Any]]) -> pygal.XY | None:
    ours, theirs = [], []
    for row in (rows[name] for name in ("plan-10k", "plan-100k", "plan-1m") if name in rows):
        ours.append((row["readers"], row["ours"]))
        if row.get("peer") is not None:
            theirs.append((row["readers"], row["peer"]))
    if not ours:
        return None
    chart = pygal.XY(**_settings(logarithmic=True, xrange=(8_000, 1_200_000), x_title="readers", y_title="seconds",
                                 x_labels=[10_000, 100_000, 1_000_000],
                                 x_value_formatter=lambda readers: f"{readers:,.0f}"))  # fmt: skip
    chart.add("Paperround", ours)
    chart.add("SQL", theirs)
    return chart


def _send(row: Mapping[str, Any] | None) -> pygal.Bar | None:
    if row is None:
        return None
    cases = [case for case in _CASES if case in row["cases"]]
    chart = pygal.Bar(**_settings(x_label_rotation=20, x_labels=[_CASES[case] for case in cases]))
    for client, name in _CLIENTS.items():
        if any(client in row["cases"][case] for case in cases):
            chart.add(name, [row["cases"][case].get(client) for case in cases])
    return chart


def _senders(row: Mapping[str, Any] | None) -> pygal.Bar | None:
    if row is None:
        return None
    rates = row["rates"]
    chart = pygal.Bar(**_settings(x_labels=list(rates), x_title="processes", show_legend=False))
    chart.add("Paperround", list(rates.values()))
    return chart
