"""Where papers come from: one module a source, and here the lines that bring them in."""

from __future__ import annotations

from pathlib import Path

from service.papers.fetch import Fetcher
from service.papers.record import Source
from service.papers.sources.arxiv_rss import ArxivFeed
from service.papers.sources.file import FileSource
from service.papers.sources.huggingface import HuggingFaceDaily
from service.settings import Settings


def configured(settings: Settings) -> list[Source]:
    """The sources that every ingest reads."""
    fetcher = Fetcher(settings)
    return [
        HuggingFaceDaily(settings.huggingface_url, fetcher),
        ArxivFeed(settings.arxiv_rss_url, settings.arxiv_categories.split(), fetcher),
    ]


def from_file(path: Path, form: str | None = None) -> Source:
    """A file as a source. Raises :class:`service.papers.record.SourceError`."""
    return FileSource(path, form)
