"""The command of docs/sources.md, in small."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tests.cli.conftest import Run
from tests.papers import fault_server


def test_ingest_all_tells_of_each_source_and_of_each_day(paperround: Run) -> None:
    stage = fault_server.Stage(datetime.now(UTC).date())
    with fault_server.playing(stage) as servers:
        told = fault_server.environment(servers) | {"PAPERROUND_SOURCES": "huggingface biorxiv"}
        done = paperround("ingest", "--all", "--json", **told)
        wrong = paperround("ingest", "--all", **(told | {"PAPERROUND_SOURCES": "huggingface nature"}))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    daily, preprints = report["sources"]
    wanted = {kind: sum(title.startswith(f"Invented {kind}") for title in stage.expected) for kind in ("Daily", "Prep")}
    assert (daily["new"], preprints["new"]) == (wanted["Daily"], wanted["Prep"])
    states = {(each["source"], each["day"]): each["state"] for each in report["coverage"]}
    assert [states["huggingface", str(day)] for day in stage.days] == ["complete", "complete", "failed", "complete"]
    assert [states["biorxiv", str(day)] for day in stage.days] == ["complete", "partial", "empty", "complete"]

    assert wrong.returncode == 2
    assert "“nature”, which is no source: choose from arxiv, " in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1
