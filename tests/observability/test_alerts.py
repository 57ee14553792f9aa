"""The alert rules, judged by Prometheus' own promtool: each rings for what it is there for, and alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(__file__).parents[2] / "docs" / "prometheus" / "paperround.rules.yml"
UP = {'paperround_info{version="1"}': "1x40"}
HOURS = 3
"""After which every alert that waits has waited long enough; a sample every five minutes."""
SENT = {'paperround_deliveries_settled_1d{kind="digest",state="sent"}': "1000x40"}
TROUBLE: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    # What is told, and the labels of the alert.
    "PaperroundAway": ({}, {}),
    "PaperroundFiguresMissing": ({'paperround_reading_failed{reading="queue"}': "1x40"}, {"reading": "queue"}),
    "PaperroundMailStuck": ({'paperround_queue_age_seconds{kind="digest"}': "0+300x40"}, {}),
    "PaperroundConfirmationsSlow": ({'paperround_queue_age_seconds{kind="confirm"}': "0+300x40"}, {}),
    "PaperroundSendersLost": ({"paperround_leases_expired": "2x40"}, {}),
    "PaperroundPlanningLate": ({"paperround_plan_age_seconds": "0+300x40"}, {}),
    "PaperroundDeliveriesFail": (
        SENT | {'paperround_deliveries_settled_1d{kind="digest",state="failed"}': "60x40"},
        {"kind": "digest"},
    ),
    "PaperroundBounces": (SENT | {'paperround_returns_1d{kind="hard bounce"}': "30x40"}, {}),
    "PaperroundRefusals": (SENT | {'paperround_returns_1d{kind="refusal"}': "30x40"}, {}),
    "PaperroundComplaints": (SENT | {'paperround_returns_1d{kind="complaint"}': "4x40"}, {}),
    "PaperroundSourceOverdue": ({'paperround_coverage_overdue_days{source="arxiv"}': "1x40"}, {"source": "arxiv"}),
    "PaperroundNoEdition": ({"paperround_edition_cut_timestamp_seconds": "-400000x40"}, {}),
    "PaperroundPapersLeft": ({"paperround_papers_unedited": "7x40"}, {}),
    "PaperroundTaskFails": (
        {'paperround_task_runs_1h{task="send.due",outcome="failed"}': "3x40"},
        {"task": "send.due"},
    ),
    "PaperroundTaskSilent": ({'paperround_task_success_timestamp_seconds{task="send.due"}': "0x40"}, {}),
}
QUIET = [
    'paperround_queue_age_seconds{kind="digest"}',
    'paperround_returns_1d{kind="hard bounce"}',
    'paperround_returns_1d{kind="complaint"}',
    "paperround_leases_expired",
    "paperround_plan_age_seconds",
]
"""Of a house where nothing is amiss: a few of each, below what is worth a call."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on this machine")
    return found


def case(name: str, series: dict[str, str], ringing: dict[str, dict[str, str]]) -> dict[str, Any]:
    """After some hours of ``series``, of all alerts only ``ringing`` rings."""
    rules = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    expected = [
        {
            "eval_time": f"{HOURS}h",
            "alertname": alert,
            "exp_alerts": [
                {
                    "exp_labels": rule["labels"] | ringing[alert],
                    "exp_annotations": {"summary": SUMMARIES.get(alert, rule["annotations"]["summary"]),
                                        "runbook": rule["annotations"]["runbook"]},
                }
            ]
            if alert in ringing
            else [],
        }
        for alert, rule in rules.items()
    ]  # fmt: skip
    return {
        "name": name,
        "interval": "5m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": expected,
    }


SUMMARIES = {
    "PaperroundFiguresMissing": "The figures of queue cannot be read.",
    "PaperroundMailStuck": "The oldest due digest has waited for 3h 0m 0s.",
    "PaperroundConfirmationsSlow": "Somebody has waited for a mail they asked for, 3h 0m 0s by now.",
    "PaperroundPlanningLate": "A reader's hour came 3h 0m 0s ago and no digest is planned.",
    "PaperroundDeliveriesFail": "More than 5 % of digest mail failed in a day.",
    "PaperroundSourceOverdue": "1 days of arxiv should be complete and are not.",
    "PaperroundNoEdition": "No edition was cut for 4d 18h 6m 40s.",
    "PaperroundTaskFails": "The task send.due failed 3 times in an hour.",
    "PaperroundTaskSilent": "The sender has not come to its end for 3h 0m 0s.",
}
"""As an operator reads them."""


def test_each_alert_rings_for_its_trouble_and_for_no_other(promtool: str, tmp_path: Path) -> None:
    cases = [
        case(alert, series if alert == "PaperroundAway" else UP | series, {alert: labels})
        for alert, (series, labels) in TROUBLE.items()
    ]
    cases.append(case("all is well", UP | SENT | dict.fromkeys(QUIET, "0x40"), {}))
    asked = tmp_path / "tests.yml"
    asked.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": cases}))
    done = subprocess.run([promtool, "test", "rules", str(asked)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(TROUBLE) == {each["alertname"] for each in cases[0]["alert_rule_test"]}
