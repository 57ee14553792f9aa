"""Reading XML from strangers, item by item: what is cut off keeps what came before, and bombs are refused.

No document that is read here needs entities of its own; one that declares any is refused before they can be used.
Nothing outside the document is ever loaded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from typing import Any, Final

from lxml import etree

from service.papers.record import PaperRecord, Problem, SourceError
from service.papers.sources import field
from service.papers.sources.field import RowError

SPACES: Final = {
    "arxiv": "http://arxiv.org/schemas/atom",
    "atom": "http://www.w3.org/2005/Atom",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "oai": "http://www.openarchives.org/OAI/2.0/",
    "prism": "http://prismstandard.org/namespaces/basic/2.0/",
    "raw": "http://arxiv.org/OAI/arXivRaw/",
    "rss1": "http://purl.org/rss/1.0/",
}
_TAIL: Final = 8_192
"""Bytes in which the end of a document stands; some servers add a comment after it."""


@dataclass(slots=True)
class Ending:
    """How a document ended; told when its items have been read."""

    cut_off: bool = False
    items: int = 0


def items(
    body: bytes,
    origin: str,
    *,
    roots: frozenset[str],
    wanted: frozenset[str],
    what: str,
    ending: Ending,
    aside: Callable[[Any], None] | None = None,
) -> Iterator[Any]:
    """Each element whose local name is ``wanted``, whole; of a document that is cut off, those before the cut.

    ``aside`` sees every other element as it ends. Raises :class:`SourceError` where the document is not one of
    ``roots`` (local names) or declares entities.
    """
    parser = etree.iterparse(
        io.BytesIO(body), events=("start", "end"), recover=True, resolve_entities=False, no_network=True, load_dtd=False
    )
    root = ""
    held: Any = None
    try:
        for event, element in parser:
            if event == "start":
                if not root:
                    _refuse_entities(element, origin)
                    root = local(element)
                continue
            if local(element) not in wanted:
                if aside is not None:
                    aside(element)
                continue
            if held is not None:
                ending.items += 1
                yield held
                held.clear()
            held = element
    except etree.XMLSyntaxError as error:
        raise SourceError(f"{origin} is not XML ({_line(error.msg)}): {what}") from None
    if root not in roots:
        raise SourceError(f"{origin} is {'a web page' if root == 'html' else 'not a feed'}: {what}")
    empty = len(parser.root) == 0 and body.rstrip().endswith(b"/>")
    ending.cut_off = not empty and not _closed(body, root)
    # Recovery closes the element that the cut went through as if it were whole.
    if held is not None and not ending.cut_off:
        ending.items += 1
        yield held


def records(
    found: Iterator[Any], read: Callable[[Any], PaperRecord], ending: Ending, *, called: str, cut_off: str
) -> Iterator[PaperRecord | Problem]:
    """What ``read`` makes of each of :func:`items`, or what is wrong with it; at the end, that the document is cut off.

    ``called`` is the document's word for an item, ``cut_off`` what is said of the one that the cut went through.
    """
    for number, item in enumerate(found, 1):
        try:
            yield read(item)
        except RowError as error:
            yield Problem(f"{called} {number}", str(error))
    if ending.cut_off:
        yield Problem(f"{called} {ending.items + 1}", cut_off)


def feed_records(
    body: bytes,
    origin: str,
    read: Callable[[Any], PaperRecord],
    *,
    what: str,
    ending: Ending | None = None,
    aside: Callable[[Any], None] | None = None,
) -> Iterator[PaperRecord | Problem]:
    """A record, or what is wrong, for each item of an RSS or Atom feed; ``what`` is the remedy where it is none.

    Raises :class:`SourceError` where it is none.
    """
    ending = ending or Ending()
    found = items(
        body,
        origin,
        roots=frozenset({"rss", "feed", "RDF"}),
        wanted=frozenset({"item", "entry"}),
        what=what,
        ending=ending,
        aside=aside,
    )
    cut_off = "the feed is cut off here: this item is not complete, later ones are missing"
    return records(found, read, ending, called="item", cut_off=cut_off)


def _closed(body: bytes, root: str) -> bool:
    """Whether the end tag of the root is there: the parser's errors tell of some cuts only. UTF-16 is seen through."""
    tail = body[-_TAIL:].replace(b"\x00", b"").rstrip()
    return bool(re.search(rb"</(?:[\w.-]+:)?" + re.escape(root.encode()) + rb"\s*>", tail))


def local(element: Any) -> str:
    """The name of an element without its namespace; empty for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def text(item: Any, *paths: str) -> str | None:
    """The text of the first of these elements that has any."""
    for path in paths:
        for found in item.findall(path, SPACES):
            written = "".join(found.itertext()).strip()
            if written:
                return written
    return None


def day(written: str | None) -> date | None:
    """The calendar day as written, whatever the offset, of an RFC 822 or ISO time."""
    if written is None:
        return None
    try:
        return parsedate_to_datetime(written).date()
    except (ValueError, OverflowError):
        return field.day(written[:10])


def _refuse_entities(element: Any, origin: str) -> None:
    declared = element.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise SourceError(f"{origin} declares entities of its own, which can blow up a reader: it is refused")


def _line(message: str | None) -> str:
    return " ".join((message or "no reason told").split())
