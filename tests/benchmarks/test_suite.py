"""The suite keeps what it measured, and its benchmarks run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from benchmarks import page, suite
from benchmarks.entries import ENTRIES, Entry, Goal

ROOT = Path(__file__).parents[2]


def _result(**row: object) -> dict[str, object]:
    machine = {"CPU": "an invented one", "cores": "2"}
    return {"row": {"unit": "s", **row}, "machine": machine, "load_before": 0.0, "quick": False}


def test_a_quick_import_is_killed_resumed_and_accounted_for_and_its_page_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.suite", "--quick", "--only", "import", "--into", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    row = json.loads((tmp_path / "benchmarks" / "results.json").read_text())["import"]["row"]
    assert (row["entered"], row["bad"], row["wrong"]) == (19_800, 200, 0)
    assert 10_000 <= row["killed_at_row"] < 20_000
    written = (tmp_path / "benchmarks.md").read_text()
    assert "This is a quick run" in written
    assert "| import | rows lost, repeated or wrongly listed | ≤ 0 | 0 | yes |" in written
    assert str(Path.home()) not in written


def test_one_that_fails_keeps_its_old_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "benchmarks" / "results.json"
    results.parent.mkdir()
    results.write_text(json.dumps({"match": _result(ours=2.5, peer=7.5, ratio=3.0)}))
    broken = Entry("match", "what", "peer", "not_there", quick=())
    monkeypatch.setattr(suite, "ENTRIES", (broken,))
    monkeypatch.setattr(sys, "argv", ["suite", "--into", str(tmp_path), "--only", "match"])

    with pytest.raises(SystemExit, match="not measured: match"):
        suite.main()

    assert "No module named" in capsys.readouterr().out
    assert json.loads(results.read_text())["match"]["row"]["ours"] == 2.5
    assert "| match | all of it | ≤ 3 s | 2.5 | yes |" in (tmp_path / "benchmarks.md").read_text()


def test_the_page_says_what_misses_its_goal_and_what_is_missing(tmp_path: Path) -> None:
    cases = {"10kb_16": {"ours": 1_000.0, "smtplib": 900.0, "bare": 2_000.0}}
    kept = {
        "plan-10k": _result(readers=10_000, ours=0.6, peer=11.6, ratio=19.3),
        "plan-1m": _result(readers=1_000_000, ours=26.0, peer=None, ratio=None, peak_mib=400),
        "send": _result(ours=1_000.0, peer=900.0, ratio=1.1, bare_ratio=0.5, cases=cases),
    }

    page.write(tmp_path, kept)

    written = (tmp_path / "benchmarks.md").read_text()
    assert "| plan-1m | all of it | ≤ 20 s | 26 | **no** |" in written
    assert "| plan-1m | memory | ≤ 1,024 MiB | 400 | yes |" in written
    assert "| send | against it at 20 ms, 10 KB | ≥ 3 times | not measured | |" in written
    assert "| web | the day's page, fifty requests at once, a year of papers | not measured |" in written
    for plot in ("plan.svg", "send.svg"):
        drawn = etree.parse(tmp_path / "benchmarks" / plot).getroot()
        assert not list(drawn.iter("{http://www.w3.org/2000/svg}script")), "a page of ours loads nothing from elsewhere"
    assert not (tmp_path / "benchmarks" / "senders.svg").exists()


def test_a_goal_is_a_floor_or_a_ceiling() -> None:
    floor, ceiling = Goal("x", lambda row: row["x"], least=2), Goal("x", lambda row: row["x"], most=2)
    assert floor.reached({"x": 3}) == (3, True)
    assert ceiling.reached({"x": 3}) == (3, False)
    assert floor.reached({"y": 3}) is None


def test_every_entry_is_a_benchmark_that_is_there() -> None:
    for entry in ENTRIES:
        assert (ROOT / "benchmarks" / f"{entry.module}.py").exists(), entry.name
