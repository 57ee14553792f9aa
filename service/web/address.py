"""The address of the page being made: its canonical form, and the feeds that go with it.

Set once for each request by :class:`service.web.caching.Pages`, read by the templates' frame, so that no page needs to
know about either.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

_KEPT: Final = ("q", "page", "before")
"""Of a query string, what makes another page."""

FORMATS: Final = {
    "atom": "application/atom+xml",
    "rss": "application/rss+xml",
    "json": "application/feed+json",
}


@dataclass(frozen=True, slots=True)
class FeedLink:
    title: str
    type: str
    url: str


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Path and query of a public page."""

    path: str
    query: str = ""

    @property
    def canonical(self) -> str:
        """The one spelling of this page's address, from the root: parameters in one order, page 1 unnamed."""
        given = dict(parse_qsl(self.query))
        kept = {name: given[name] for name in _KEPT if given.get(name) and (name, given[name]) != ("page", "1")}
        path = quote(self.path, safe="/:")
        return f"{path}?{urlencode(kept)}" if kept else path

    @property
    def feeds(self) -> list[FeedLink]:
        """The feeds of this page, to be discovered by feed readers."""
        query = dict(parse_qsl(self.query)).get("q", "")
        tail = ""
        if self.path.startswith("/topics/"):
            name, base = "This topic", f"/feeds/topics/{quote(self.path.removeprefix('/topics/'), safe=':')}"
        elif self.path == "/search" and query.strip():
            name, base, tail = "This search", "/feeds/search", "?" + urlencode({"q": query})
        else:
            name, base = "New papers", "/feeds/papers"
        labels = {"atom": "Atom", "rss": "RSS", "json": "JSON Feed"}
        return [FeedLink(f"{name} ({labels[form]})", kind, f"{base}.{form}{tail}") for form, kind in FORMATS.items()]


CURRENT: Final[ContextVar[PageAddress | None]] = ContextVar("page address", default=None)
