"""Invented papers for a machine without a network. Every abstract says that it is a sample; so do authors and links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import orjson

from service.papers.record import Identifier, PaperRecord
from service.papers.sources import jsonl

NAME: Final = "sample"
ORIGIN: Final = "https://example.org/papers/"
"""Where links of samples lead: a name reserved for examples."""
_FILE: Final = Path(__file__).with_name("samples.jsonl")


class SampleSource:
    """The samples, listed over today and the two days before, so that they look like a current stock."""

    name = NAME
    origin = "sample papers"

    def fetch(self, since: date) -> Iterator[PaperRecord]:  # noqa: ARG002 (they are always new)
        today = datetime.now(UTC).date()
        for line in _FILE.read_bytes().splitlines():
            row = orjson.loads(line)
            listed_on = today - timedelta(days=row["day"])
            yield replace(
                jsonl.record(row, NAME),
                identifiers=(Identifier(NAME, row["id"]),),
                url=f"{ORIGIN}{row['id']}",
                listed_on=listed_on,
                published_on=listed_on - timedelta(days=1),
            )
