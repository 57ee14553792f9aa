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

_FIELDS: Final = {"authors": "author", "organizations": "org"}

FORMATS: Final = {
    "atom": "application/atom+xml",
    "rss": "application/rss+xml",
    "json": "application/feed+json",
}


@dataclass(frozen=True, slots=True)
class FeedLink:
    title: str
    label: str
    """Of the format."""
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
        elif self.path.startswith(("/authors/", "/organizations/")):
            # A name's papers are what a search for it finds, and so is the feed.
            _, kind, name = self.path.split("/", 2)
            base, tail = "/feeds/search", "?" + urlencode({"q": named(_FIELDS[kind], name)})
        elif self.path == "/trending":
            name, base = "What everybody reads", "/feeds/trending"
        elif self.path == "/search" and query.strip():
            name, base, tail = "This search", "/feeds/search", "?" + urlencode({"q": query})
        else:
            name, base = "New papers", "/feeds/papers"
        labels = {"atom": "Atom", "rss": "RSS", "json": "JSON Feed"}
        return [
            FeedLink(f"{name} ({labels[form]})", labels[form], kind, f"{base}.{form}{tail}")
            for form, kind in FORMATS.items()
        ]


def named(field: str, name: str) -> str:
    """What finds the papers that bear a name in a field of the query language, as a reader would type it."""
    return f'{field}:"{name.replace(chr(34), " ").strip()}"'


CURRENT: Final[ContextVar[PageAddress | None]] = ContextVar("page address", default=None)
