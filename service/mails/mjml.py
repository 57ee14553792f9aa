"""MJML to a Jinja template, once (decision 007).

Jinja's tags are hidden behind opaque tokens while the MJML engine works: the engine would trip over a ``<`` in a
condition, escape in its own way what stands in attributes, and drop a layout attribute it cannot read. Afterwards each
token must have come out as often as it went in, or not at all in the case of a dropped attribute: that is an error.
"""

from __future__ import annotations

import re
from collections import Counter

from mjml import mjml2html

_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_INCLUDE = re.compile(r'\{%\s*include\s+"([^"]+)"\s*%\}')
_TOKEN = re.compile(r"jnj(\d{4})x")


class TemplateError(Exception):
    """A mail template that does not compile. One line: the template and what is wrong."""


def compiled(name: str, source: str) -> str:
    """The Jinja source of the HTML that the MJML ``source`` describes. Includes must have been put in already.

    Raises :class:`TemplateError`.
    """
    tags: list[str] = []

    def hidden(found: re.Match[str]) -> str:
        tags.append(found[0])
        return f"jnj{len(tags) - 1:04d}x"

    opaque = _JINJA.sub(hidden, source)
    try:
        html = mjml2html(opaque, disable_comments=True, fonts={})
    except ValueError as error:
        raise TemplateError(f"{name}: {error}") from error
    before, after = Counter(_TOKEN.findall(opaque)), Counter(_TOKEN.findall(html))
    lost = [tags[int(number)] for number in before if after[number] < before[number]]
    if lost:
        raise TemplateError(f"{name}: the MJML engine dropped {lost[0]}: a layout attribute cannot be a variable")
    return _TOKEN.sub(lambda found: tags[int(found[1])], html)


def included(name: str, sources: dict[str, str]) -> str:
    """The source of a template with its includes put in, before compilation: ``mj-include`` would lose widths."""
    return _INCLUDE.sub(lambda found: included(found[1], sources), sources[name])
