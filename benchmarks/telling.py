"""How every benchmark is called, where it works, and how it tells its figures: one JSON line comes last."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def options(description: str | None) -> argparse.ArgumentParser:
    """A command line with what all of them take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    return parser


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes with the benchmark."""
    folder = Path(tempfile.mkdtemp(prefix="paperround-benchmark-"))
    # The embedded PostgreSQL runs as another user where this one is root.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tell(row: Mapping[str, Any], *, only_json: bool) -> None:
    """The figures for people, unless they are not wanted, and for the suite."""
    if not only_json:
        width = max(map(len, row))
        for name, value in row.items():
            print(f"{name:{width}}  {value}")
    print(json.dumps(row))
