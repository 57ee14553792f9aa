"""The arXiv category taxonomy: what counts as a category. Source: https://arxiv.org/category_taxonomy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Category:
    """A category of arXiv's, such as cs.CL, and the archive it belongs to."""

    id: str
    name: str
    archive: str
    archive_name: str


def _read() -> tuple[dict[str, Category], dict[str, str]]:
    table = tomllib.loads(Path(__file__).with_name("taxonomy.toml").read_text(encoding="utf-8"))
    categories = {}
    for archive, entry in table["archives"].items():
        # An archive without categories of its own (hep-th, quant-ph, …) is one category.
        parts = entry.get("categories") or {None: entry["name"]}
        for part, name in parts.items():
            identifier = f"{archive}.{part}" if part else archive
            categories[identifier] = Category(identifier, name, archive, entry["name"])
    return categories, table["aliases"]


_categories, _aliases = _read()
CATEGORIES: Final[Mapping[str, Category]] = MappingProxyType(_categories)
"""Every category by its id, in the taxonomy's order; aliases among them."""


def canonical(identifier: str) -> str | None:
    """The id under which papers of this category are filed: aliases folded. None: not a category.

    Real category lists carry MSC and ACM classes (``94A29``, ``I.4.2``) too; membership here is what tells them apart.
    """
    identifier = _aliases.get(identifier, identifier)
    return identifier if identifier in CATEGORIES else None
