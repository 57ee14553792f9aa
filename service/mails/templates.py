"""The mail templates, compiled once per process, and rendered texts with holes for what differs between readers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import BaseLoader, DictLoader, Environment, StrictUndefined
from markupsafe import Markup

import service
from service import translation
from service.mails import mjml, quoted
from service.mails.lines import wrapped

FOLDER: Final = Path(service.__file__).parent.parent / "templates" / "email"
"""One folder a mail: ``subject.txt``, ``preheader.txt``, ``body.mjml``, ``body.txt``; shared pieces in ``layout``."""

# No text that reaches a template holds these control characters: ``papers.text.plain`` removes them.
_HOLE = re.compile("\x02(\\w+)\x03")
_LOOP = re.compile(r"\{%\s*for card in cards\s*%\}(.*)\{%\s*endfor\s*%\}", re.DOTALL)
_BLANK_LINES = re.compile(r"\n{3,}")
_FROM_SOURCE: Final = 32
"""Pieces of templates that are kept compiled: of each part of a digest, before, card and after."""


class Fragments:
    """A rendered text, encoded once, with named holes to be filled for each reader."""

    __slots__ = ("_counts", "_holes", "_pieces", "size")

    def __init__(self, rendered: str) -> None:
        parts = _HOLE.split(rendered)
        self._pieces = [b"" if place % 2 else quoted.encoded(part) for place, part in enumerate(parts)]
        self._holes = [(place, parts[place]) for place in range(1, len(parts), 2)]
        self._counts = Counter(hole for _, hole in self._holes)
        self.size = sum(map(len, self._pieces))
        """Bytes, what fills the holes apart."""

    def count(self, hole: str) -> int:
        """How often ``hole`` is to be filled."""
        return self._counts[hole]

    def filled(self, values: Mapping[str, bytes]) -> list[bytes]:
        """The encoded pieces in order, ``values`` (encoded) in the holes."""
        pieces = self._pieces.copy()
        for place, hole in self._holes:
            pieces[place] = values[hole]
        return pieces


@dataclass(frozen=True, slots=True)
class Looped:
    """A template around cards: what stands before them, a card, what stands after."""

    before: str
    card: str
    after: str


class Templates:
    """All mails, compiled once; rendered in the language of the moment."""

    def __init__(self, folder: Path = FOLDER) -> None:
        sources = {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        html = {
            name: mjml.compiled(name, mjml.included(name, sources)) for name in sources if name.endswith("/body.mjml")
        }
        text = {name: mjml.included(name, sources) for name in sources if name.endswith(".txt")}
        self._sources = {**html, **text}
        loader: BaseLoader = DictLoader(self._sources)
        i18n = ["jinja2.ext.i18n"]
        self._html = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, extensions=i18n)
        self._text = Environment(
            loader=loader,
            autoescape=False,  # noqa: S701 (plain text has nothing to escape)
            undefined=StrictUndefined,
            extensions=i18n,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        for each in (self._html, self._text):
            translation.install(each)
            each.filters["wrapped"] = wrapped
        # Compiling a template takes ten times as long as rendering it, and a round renders a thousand cards.
        self._html_from = lru_cache(maxsize=_FROM_SOURCE)(self._html.from_string)
        self._text_from = lru_cache(maxsize=_FROM_SOURCE)(self._text.from_string)

    def html(self, mail: str, values: Mapping[str, Any]) -> str:
        return self._html.get_template(f"{mail}/body.mjml").render(values)

    def text(self, mail: str, values: Mapping[str, Any]) -> str:
        return tidy(self._text.get_template(f"{mail}/body.txt").render(values))

    def line(self, mail: str, part: str, values: Mapping[str, Any]) -> str:
        """The ``subject`` or ``preheader`` of a mail: one line."""
        return " ".join(self._text.get_template(f"{mail}/{part}.txt").render(values).split())

    def html_parts(self, mail: str) -> Looped:
        return _looped(self._sources[f"{mail}/body.mjml"])

    def text_parts(self, mail: str) -> Looped:
        return _looped(self._sources[f"{mail}/body.txt"])

    def html_from(self, source: str, values: Mapping[str, Any]) -> str:
        return self._html_from(source).render(values)

    def text_from(self, source: str, values: Mapping[str, Any]) -> str:
        return tidy(self._text_from(source).render(values))


@lru_cache(maxsize=1)
def templates() -> Templates:
    """The shipped mails, compiled at first use."""
    return Templates()


def holes(names: Iterable[str]) -> dict[str, Markup]:
    """Values that stand for themselves: rendered now, filled in for each reader later."""
    return {name: Markup(f"\x02{name}\x03") for name in names}  # noqa: S704 (a fixed pattern around our own names)


def tidy(text: str) -> str:
    """No more than one empty line in a row, and one line end at the end."""
    return _BLANK_LINES.sub("\n\n", text)


def _looped(source: str) -> Looped:
    # The first "for" is the loop over cards; its "endfor" is the last one, since loops inside close before it.
    found = _LOOP.search(source)
    if found is None:
        raise mjml.TemplateError("the digest's templates need a loop over cards")
    return Looped(source[: found.start()], found[1], source[found.end() :])
