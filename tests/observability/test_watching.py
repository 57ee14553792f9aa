"""Dashboard, alerts, runbook and table name only figures that /metrics really tells."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service import task_runs
from service.database import Database
from service.doorbell import Task
from service.measures import Measures
from service.papers import ingest
from service.papers.record import DayRead
from service.settings import Settings
from tests import factories

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "paperround.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DOCS / "prometheus" / "paperround.rules.yml").read_text())["groups"]
ALERTS = [rule for group in RULES for rule in group["rules"]]

Told = dict[str, dict[str, set[str]]]
"""By figure and label: the values."""


@pytest.fixture
def told(database: Database, settings: Settings) -> Told:
    """What a house tells in which something of each kind has happened."""
    factories.edition(database, factories.record())
    late = factories.TODAY - timedelta(days=3)
    ingest.ingest(database, factories.Listed(DayRead(late, 0)), late, by_days=True)
    for task in Task:
        task_runs.record(database, task, 1.0, None)
    figures: Told = {}
    for family in text_string_to_metric_families(Measures(database, settings).exposition().decode()):
        for sample in family.samples:
            labels = figures.setdefault(sample.name, defaultdict(set))
            for name, value in sample.labels.items():
                labels[name].add(value)
    return figures


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """Every figure that an expression reads."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [*(each.replace("$job", ".*") for each in panels), *(alert["expr"] for alert in ALERTS)]


def test_every_expression_reads_figures_that_are_told(told: Told) -> None:
    count = 0
    for expression in expressions():
        read = selectors(expression)
        assert read, f"reads nothing: {expression}"
        for selector in read:
            count += 1
            assert selector.name in told, expression
            for matcher in selector.matchers.matchers:
                if matcher.name == "job":  # Prometheus adds it
                    continue
                values = told[selector.name][matcher.name]
                if matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):
                    assert matcher.value in values, expression
                else:
                    wanted = set(matcher.value.split("|"))
                    assert wanted <= values, expression
    assert count > 40


def test_an_expression_with_an_unknown_figure_would_be_noticed(told: Told) -> None:
    (read,) = selectors("sum(rate(paperround_nothing[5m])) > 1")
    assert read.name not in told


def test_the_dashboard_has_what_an_import_needs() -> None:
    assert DASHBOARD["id"] is None, "Grafana gives its own"
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"]
    assert DASHBOARD["title"]
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["type"] in {each["id"] for each in DASHBOARD["__requires"]} | {"row"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        for used in re.findall(r"\$\{?(\w+)", json.dumps(panel)):
            assert used in variables
        if panel["type"] != "row":
            assert panel["targets"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references)


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (\w+)\n(?=\S)", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(alert["alert"] for alert in ALERTS)
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]


def test_every_figure_that_is_told_stands_in_the_table(told: Told) -> None:
    table = (DOCS / "observability.md").read_text()
    documented = {
        name: set(labels.split(",")) if labels else set()
        for name, labels in re.findall(r"`(paperround_\w+)(?:\{([\w,]+)\})?`", table)
    }
    # One name is written twice, once without its labels.
    documented["paperround_queue_age_seconds"] = {"kind"}
    assert {name: set(labels) for name, labels in told.items()} == documented
