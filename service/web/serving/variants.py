"""In how many ways one public page may be sent, and by which request headers it is chosen (RFC 9110, section 12.5.5).

Whatever makes two answers of one address differ belongs here and nowhere else: a kept page is found by it, its ETag
holds it, and ``Vary`` tells it to every cache between us and the reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from service import translation

VARY: Final = "Accept-Encoding"
"""Every header that is read here; :mod:`service.web.serving.speaking` names those by which it chooses the language."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to send a page."""

    language: str
    """A tag of BCP 47, one of those the site speaks: never what a stranger typed, or anybody could fill the memory."""
    compressed: bool


def variant(headers: Headers) -> Variant:
    """The way a request wants a page. Its language was chosen before (:class:`service.web.serving.speaking.Speaks`)."""
    return Variant(translation.current().tag, "gzip" in headers.get("accept-encoding", ""))
