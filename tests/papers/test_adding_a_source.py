"""The worked example of docs/adding-a-source.md, run as it stands there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service import rounds
from service.database import Database
from service.papers import sources
from service.settings import Settings
from tests.papers import fault_server

DOCUMENT = Path(__file__).parents[2] / "docs" / "adding-a-source.md"


def test_one_module_and_one_line_make_a_source(database: Database, settings: Settings, monkeypatch: Any) -> None:
    module, line = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "service.papers.sources.library"}
    exec(compile(module, "library.py", "exec"), names)  # noqa: S102 (our own document)
    added = eval("{" + line + "}", names)  # noqa: S307 (our own document)
    monkeypatch.setattr(sources, "REGISTERED", {**sources.REGISTERED, **added})

    stage = fault_server.Stage(datetime.now(UTC).date())
    rows = [{"title": "An Invented Book", "doi": "10.1000/1", "author": "Ada Inventor"}, 7]
    stage.play("feeds", "/new.json", fault_server.good(json.dumps(rows).encode(), "application/json"))
    with fault_server.playing(stage) as servers:
        named = settings.model_copy(
            update={"sources": f"library:{servers['feeds'].url}/new.json", "fetch_pace_seconds": 0.0}
        )
        (report,) = rounds.gather(database, named)
    assert (report.source, report.new, report.rejected, report.error) == ("library", 1, 1, None)
