"""What mail programs are asked to understand: every element, attribute, property and rule is one that was weighed.

New ones fail here until they stand in the tables, with what the reader sees in a program that does not know them. A
mail must be whole without everything that is not understood everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import service
from tests.mails.conftest import Post

EVERYWHERE: Final = frozenset(
    "background background-color border border-collapse border-top border-top-color color display font-family font-size"
    " font-weight height line-height margin margin-bottom margin-top padding padding-left padding-right padding-top"
    " text-align text-decoration text-transform vertical-align width".split()
)
"""Properties that all programs of weight follow where we use them, Outlook's Word engine among them."""

ELSEWHERE: Final = {
    "border-radius": "Outlook on Windows draws the button with square corners",
    "color-scheme": "without it a program decides by itself how to darken a mail",
    "cursor": "of a button, where there is a pointer",
    "direction": "the attribute dir says it too",
    "max-height": "of the hidden preheader, which display hides already",
    "max-width": "Outlook on Windows takes the width from the tables written for it",
    "mso-padding-alt": "only Outlook on Windows reads it",
    "mso-table-lspace": "only Outlook on Windows reads it",
    "mso-table-rspace": "only Outlook on Windows reads it",
    "opacity": "of the hidden preheader, which display hides already",
    "outline": "of images, of which there are none",
    "overflow": "of the hidden preheader, which display hides already",
    "supported-color-schemes": "the older name of color-scheme",
    "word-break": "a long word makes the mail wider there",
    "word-spacing": "normal, which it is",
    "-ms-interpolation-mode": "of images, of which there are none",
    "-ms-text-size-adjust": "phones may enlarge the text",
    "-webkit-text-size-adjust": "phones may enlarge the text",
}
"""The others, and what is seen without them."""

ELEMENTS: Final = frozenset("a body div h1 h2 head html meta p strong style table tbody td title tr".split())
MARKS: Final = {"mark": "Outlook on Windows shows the word as any other"}
ATTRIBUTES: Final = frozenset(
    "align aria-label aria-roledescription bgcolor border cellpadding cellspacing class content dir href http-equiv"
    " lang media name role style target type valign vertical-align width xmlns xmlns:o xmlns:v".split()
)
"""``vertical-align`` is a slip of the MJML engine beside the property of this name."""
RULES: Final = {
    "@media only screen and (max-width: 480px)": "margins stay as wide as on a desk",
    "@media only screen and (min-width:480px)": "columns are as wide as their text",
    "@media (prefers-color-scheme: dark)": "the mail stays light, or is darkened by the program",
}
"""Rules with a condition, and what is seen where they are dropped (Gmail drops the last one)."""

_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_STYLE: Final = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_COLOUR: Final = re.compile(r"(?<!&)#[0-9a-f]{3,8}\b", re.IGNORECASE)


def _properties(declarations: str) -> Iterator[str]:
    for each in declarations.split(";"):
        if each.strip():
            yield each.partition(":")[0].strip()


def asked(page: str) -> tuple[set[str], set[str], set[str], set[str]]:
    """The elements, attributes, properties and conditional rules of a mail."""
    seen = _COMMENT.sub("", page)
    css = "\n".join(_STYLE.findall(seen))
    tags = re.findall(r"<([a-z][\w:-]*)((?:\s+[\w:-]+(?:=\"[^\"]*\")?)*)\s*/?>", seen)
    attributes = {name for _, given in tags for name in re.findall(r"\s([\w:-]+)(?:=\"[^\"]*\")?", given)}
    properties = {each for block in re.findall(r"\{([^{}]*)\}", css) for each in _properties(block)}
    properties |= {each for style in re.findall(r'\sstyle="([^"]*)"', seen) for each in _properties(style)}
    return {tag for tag, _ in tags}, attributes, properties, {each.strip() for each in re.findall(r"@[^{]*", css)}


def unknown(page: str) -> set[str]:
    elements, attributes, properties, rules = asked(page)
    return (
        (elements - ELEMENTS - MARKS.keys())
        | (attributes - ATTRIBUTES)
        | (properties - EVERYWHERE - ELSEWHERE.keys())
        | (rules - RULES.keys())
    )


def test_mail_programs_are_asked_for_nothing_that_was_not_weighed(post: Post) -> None:
    for made in post.mails:
        assert unknown(made.page) == set(), made.name


def test_every_entry_of_the_tables_is_in_use(post: Post) -> None:
    elements, attributes, properties, rules = (
        set().union(*found) for found in zip(*(asked(made.page) for made in post.mails), strict=True)
    )
    assert ELEMENTS | MARKS.keys() == elements
    assert attributes == ATTRIBUTES
    assert EVERYWHERE | ELSEWHERE.keys() == properties
    assert RULES.keys() == rules


def test_something_new_would_be_found(post: Post) -> None:
    page = post.mails[0].page
    for new, name in (
        ('<p style="display:grid;gap:4px">x</p>', "gap"),
        ("<video></video>", "video"),
        ('<p onclick="x()">x</p>', "onclick"),
        ("<style>@supports (display: grid) { p { color: #000; } }</style>", "@supports (display: grid)"),
    ):
        assert unknown(page.replace("<h1>", f"{new}<h1>", 1)) == {name}


def test_the_colours_are_the_sites(post: Post) -> None:
    style = Path(service.__file__).parent.parent / "templates" / "web" / "static" / "style.css"
    tokens = {each.lower() for each in _COLOUR.findall(style.read_text(encoding="utf-8"))}
    for made in post.mails:
        assert {each.lower() for each in _COLOUR.findall(_COMMENT.sub("", made.page)) if each != "#outlook"} <= tokens
