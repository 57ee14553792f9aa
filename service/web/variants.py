"""In how many ways one public page may be sent, and by which request headers it is chosen (RFC 9110, section 12.5.5).

Whatever makes two answers of one address differ belongs here and nowhere else: a kept page is found by it, its ETag
holds it, and ``Vary`` tells it to every cache between us and the reader.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

LANGUAGE: Final = "en"
VARY: Final = "Accept-Encoding"
"""Every header that :func:`variant` reads. One more language: name the headers it is chosen by here too."""


SPOKEN: Final[ContextVar[str]] = ContextVar("language", default=LANGUAGE)
"""The language of the page being made. Set with its address by :class:`service.web.caching.Pages`."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to send a page."""

    language: str
    """A tag of BCP 47, one of those the site speaks: never what a stranger typed, or anybody could fill the memory."""
    compressed: bool


def variant(query: str, headers: Headers) -> Variant:
    """The way a request wants a page. ``query`` is the query string as it came, without the question mark."""
    return Variant(language(query, headers), "gzip" in headers.get("accept-encoding", ""))


def language(query: str, headers: Headers) -> str:  # noqa: ARG001 (the site speaks one language)
    """The language of the page that answers such a request."""
    return LANGUAGE
