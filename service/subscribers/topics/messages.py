"""The words of the catalogue of topics as messages to be translated: how ``make translations`` reads topics.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import IO

from service.translation import TOPIC


def extract(
    fileobj: IO[bytes],
    keywords: object,  # noqa: ARG001 (Babel's interface)
    comment_tags: object,  # noqa: ARG001
    options: object,  # noqa: ARG001
) -> Iterator[tuple[int, str, tuple[str, str], list[str]]]:
    """An extraction method of Babel: a message for each name, description and group, with a context of their own."""
    for group in tomllib.load(fileobj)["group"]:
        topics = group["topics"].values()
        for words in (group["name"], *(topic[part] for topic in topics for part in ("name", "description"))):
            yield 1, "pgettext", (TOPIC, words), []
