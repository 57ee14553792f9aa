"""Papers from a file, whatever its format: named, or guessed from how the file begins. Gzip is seen through."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import IO, Final, cast

import orjson

from service.papers.record import PaperRecord, Problem, SourceError
from service.papers.sources import arxiv_rss, daily_page, huggingface, jsonl

LARGEST: Final = 512 * 1024 * 1024
"""Bytes, unpacked, of a file that must be read whole. JSON Lines are streamed and may be of any size."""

_LOOK: Final = 65_536


class Format(StrEnum):
    """What a file of papers may be."""

    PAGE = "page"
    HUGGINGFACE = "huggingface"
    ARXIV_RSS = "arxiv-rss"
    JSONL = "jsonl"


_NAMES: Final = {
    Format.PAGE: huggingface.NAME,
    Format.HUGGINGFACE: huggingface.NAME,
    Format.ARXIV_RSS: arxiv_rss.NAME,
    Format.JSONL: jsonl.NAME,
}


class FileSource:
    """One file. Raises :class:`SourceError` at once when it cannot be read or its format not be told."""

    def __init__(self, path: Path, form: str | None = None) -> None:
        self.origin = path.name
        self._path = path
        if form is not None and form not in list(Format):
            raise SourceError(f"there is no format “{form}”: choose one of {', '.join(Format)}")
        with self._opened() as file:
            beginning = file.read(_LOOK)
        self.format = Format(form) if form is not None else self._guess(beginning)
        self.name = _NAMES[self.format]

    def fetch(self, since: date) -> Iterator[PaperRecord | Problem]:  # noqa: ARG002 (all of the file is wanted)
        with self._opened() as file:
            if self.format is Format.JSONL:
                yield from jsonl.read_lines(file)
                return
            read: Callable[[bytes], Iterator[PaperRecord | Problem]] = {
                Format.PAGE: self._page,
                Format.HUGGINGFACE: self._huggingface,
                Format.ARXIV_RSS: self._feed,
            }[self.format]
            body = file.read(LARGEST + 1)
            if len(body) > LARGEST:
                raise SourceError(f"{self.origin} is larger than {LARGEST >> 20} MiB: split it, or use JSON Lines")
            yield from read(body)

    def _guess(self, beginning: bytes) -> Format:
        start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not start:
            raise SourceError(f"{self.origin} is empty")
        if start.startswith(b"["):
            return Format.HUGGINGFACE
        if start.startswith(b"{"):
            if any(_is_object(line) for line in start.splitlines()[:20]):
                return Format.JSONL
            raise SourceError(f"{self.origin} looks like JSON, but no line of its beginning is a JSON object by itself")
        if start[:200].lower().startswith((b"<!doctype html", b"<html")):
            raise SourceError(f"{self.origin} is an HTML page: save the Daily Papers page as text instead")
        if start.startswith(b"<"):
            return Format.ARXIV_RSS
        if b"\x00" not in beginning and daily_page.looks_like_page(beginning.decode("utf-8", "replace")):
            return Format.PAGE
        raise SourceError(
            f"{self.origin} is in no known format: name it with --format {'|'.join(Format)}, or see docs/operating.md"
        )

    def _page(self, body: bytes) -> Iterator[PaperRecord | Problem]:
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.origin} is not UTF-8 (byte {error.start}): save it again as UTF-8") from None
        yield from daily_page.read_page(text, self.origin)

    def _huggingface(self, body: bytes) -> Iterator[PaperRecord | Problem]:
        try:
            rows = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise SourceError(f"{self.origin} is not JSON: {error.msg} (line {error.lineno})") from None
        if not isinstance(rows, list):
            raise SourceError(f"{self.origin} is not a list of Daily Papers rows")
        yield from huggingface.read_rows(rows)

    def _feed(self, body: bytes) -> Iterator[PaperRecord | Problem]:
        yield from arxiv_rss.read_feed(body, self.origin)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with self._path.open("rb") as file:
                # Told by its first bytes, not by its name.
                packed = file.peek(2)[:2] == b"\x1f\x8b"
                with gzip.open(file) if packed else nullcontext(file) as stream:
                    yield cast("IO[bytes]", stream)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SourceError(
                f"{self.origin} is damaged: its compressed data ends early or is broken ({error})"
            ) from None
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror or error}") from None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        # A single line longer than what was looked at is taken for an object that goes on.
        return len(line) > _LOOK // 2
