"""Where papers come from: one module a source, and here the line that brings it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from service.database import Database
from service.papers.fetching import Fetcher, Stored
from service.papers.record import Source
from service.papers.sources.arxiv_api import ArxivApi, wanting
from service.papers.sources.arxiv_oai import ArxivOai
from service.papers.sources.arxiv_rss import ArxivFeed
from service.papers.sources.biorxiv import PreprintServer
from service.papers.sources.feed import Feed
from service.papers.sources.file import FileSource
from service.papers.sources.folder import WatchedFolder
from service.papers.sources.huggingface import HuggingFaceDaily, HuggingFaceTrending, HuggingFaceWeeks
from service.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class House:
    """What a source may need to be made."""

    settings: Settings
    database: Database
    fetcher: Fetcher

    @property
    def categories(self) -> list[str]:
        return self.settings.arxiv_categories.split()


Make = Callable[[House, str], Source]
"""Makes a source; the text is what stands after the colon, empty if there is none."""

REGISTERED: Final[Mapping[str, Make]] = MappingProxyType(
    {
        "arxiv": lambda house, _: ArxivFeed(house.settings.arxiv_rss_url, house.categories, house.fetcher),
        "arxiv-api": lambda house, _: ArxivApi(
            house.settings.arxiv_api_url, partial(wanting, house.database), house.fetcher
        ),
        "arxiv-oai": lambda house, _: ArxivOai(house.settings.arxiv_oai_url, house.categories, house.fetcher),
        "biorxiv": lambda house, _: PreprintServer("biorxiv", house.settings.biorxiv_url, house.fetcher),
        "feed": lambda house, parameter: Feed(_url("feed", parameter), house.fetcher),
        "folder": lambda house, parameter: WatchedFolder(Path(parameter or house.settings.home / "papers")),
        "huggingface": lambda house, _: HuggingFaceDaily(house.settings.huggingface_url, house.fetcher),
        "huggingface-trending": lambda house, _: HuggingFaceTrending(house.settings.huggingface_url, house.fetcher),
        "huggingface-week": lambda house, _: HuggingFaceWeeks(house.settings.huggingface_url, house.fetcher),
        "medrxiv": lambda house, _: PreprintServer("medrxiv", house.settings.biorxiv_url, house.fetcher),
    }
)
"""Every source by the name that PAPERROUND_SOURCES gives it."""
_WITHOUT_PARAMETER: Final = REGISTERED.keys() - {"feed", "folder"}
_LAST: Final = "arxiv-api"


def configured(settings: Settings, database: Database) -> list[Source]:
    """The sources that every ingest reads, as PAPERROUND_SOURCES names them; enrichment comes last.

    Raises :class:`SettingsError`.
    """
    house = House(settings, database, Fetcher(settings, Stored(database)))
    wanted = list(dict.fromkeys(settings.sources.split()))
    made = []
    for each in sorted(wanted, key=lambda name: name == _LAST):
        name, colon, parameter = each.partition(":")
        if name not in REGISTERED:
            raise SettingsError(
                f"PAPERROUND_SOURCES names “{name[:60]}”, which is no source: choose from {', '.join(REGISTERED)}"
            )
        if colon and name in _WITHOUT_PARAMETER:
            raise SettingsError(f"PAPERROUND_SOURCES: {name} takes nothing after a colon")
        made.append(REGISTERED[name](house, parameter))
    return made


def from_file(path: Path, form: str | None = None) -> Source:
    """A file as a source. Raises :class:`service.papers.record.SourceError`."""
    return FileSource(path, form)


def without_keys(name: str) -> str:
    """A source's name for logs: of an address the host alone, since a feed's key may stand in what surrounds it."""
    kind, _, address = name.partition(":")
    host = urlsplit(address).hostname if "://" in address else None
    return f"{kind}:{host}" if host else name


def _url(name: str, written: str) -> str:
    try:
        parts = urlsplit(written)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"PAPERROUND_SOURCES: {name} needs an address, for example {name}:https://example.org/rss")
    return written
