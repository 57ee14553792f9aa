"""Text as a person reads it: from what sources deliver (LaTeX, entities, line folds, stray markup). Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from pylatexenc.latex2text import LatexNodes2Text

_LATEX = LatexNodes2Text(math_mode="text", keep_comments=True, strict_latex_spaces=False)

# `$5 and $10` is money: a formula touches its dollar signs on the inside.
_FORMULA = re.compile(r"(?<!\\)\$\$?(?=[^\s$])([^$]{1,400}?)(?<=[^\s\\$])\$\$?")
_COMMAND = re.compile(
    r"\{\\[^{}]{1,40}\}"  # {\'e} {\em …}
    r"|\\[A-Za-z]+\*?(?:\s*\{[^{}]{0,200}\})*"  # \alpha \textbf{…} \c{c}
    r"|\\[^A-Za-z\s](?:\{[^{}]{0,8}\}|[A-Za-z])?"  # \'e \"{o} \&
)
_BRACES = re.compile(r"\{([^{}]{0,400})\}")
_TAG = re.compile(
    r"</?(?:a|b|br|div|em|h[1-6]|i|italic|bold|jats:\w+|li|p|span|strong|sub|sup|u|ul)(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+")
# Invisible characters that can hide or reorder text: zero width, soft hyphen, direction overrides, byte order mark.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]")


def plain(text: str) -> str:
    """One line of readable text in NFC: accents and formulas in Unicode where it has them, no markup, no control or
    invisible characters, single spaces. Never raises; what cannot be converted stays as it was."""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "\\" in text or "$" in text:
        text = _FORMULA.sub(lambda found: _unlatexed(found[0]), text)
        text = _COMMAND.sub(lambda found: _unlatexed(found[0]), text)
        text = _BRACES.sub(r"\1", text)
    text = _INVISIBLE.sub("", text)
    text = "".join(character if character.isprintable() or character.isspace() else " " for character in text)
    return unicodedata.normalize("NFC", _SPACE.sub(" ", text).strip())


def title_key(title: str) -> str:
    """The letters and digits of a title, case and accents folded: equal for two printings of one title."""
    folded = unicodedata.normalize("NFKD", plain(title)).casefold()
    return "".join(_WORD.findall("".join(each for each in folded if not unicodedata.combining(each))))


@lru_cache(maxsize=16_384)
def _unlatexed(latex: str) -> str:
    try:
        # A % begins a comment in LaTeX; in an abstract it means percent.
        readable = str(_LATEX.latex_to_text(re.sub(r"(?<!\\)%", r"\\%", latex)))
    except Exception:  # noqa: BLE001 (on broken LaTeX the library's macros raise whatever they happen to raise)
        return latex
    # A macro that is not known comes out empty: better its name than a hole in the sentence.
    return readable if readable.strip() or not re.search(r"[A-Za-z]{2}", latex) else latex.lstrip("\\")
