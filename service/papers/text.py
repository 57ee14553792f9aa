"""Text as a person reads it: from what sources deliver (LaTeX, entities, line folds, stray markup). Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from typing import Final

from pylatexenc.latex2text import LatexNodes2Text

LONGEST_ORIGINAL: Final = 40_000
"""Characters."""

_LATEX = LatexNodes2Text(math_mode="text", keep_comments=True, strict_latex_spaces=False)

# `$5 and $10` is money: a formula touches its dollar signs on the inside.
_FORMULA = re.compile(
    r"(?<!\\)\$\$?(?=[^\s$])([^$]{1,400}?)(?<=[^\s\\$])\$\$?|\\\([^$]{1,400}?\\\)|\\\[[^$]{1,400}?\\\]"
)
_COMMAND = re.compile(
    r"\{\\[^{}]{1,40}\}"  # {\'e} {\em …}
    r"|\\[A-Za-z]+\*?(?:\s*\{[^{}]{0,200}\})*"  # \alpha \textbf{…} \c{c}
    r"|\\[^A-Za-z\s](?:\{[^{}]{0,8}\}|[A-Za-z])?"  # \'e \"{o} \&
)
_BRACES = re.compile(r"\{([^{}]{0,400})\}")
# Macros that pylatexenc reads as what they are not: a link's text is what is read, unless it is all there is.
_LINK = re.compile(r"\\href\s*\{([^{}]{0,400})\}\s*\{((?:[^{}]|\{[^{}]{0,200}\}){0,400})\}")
_ARGUMENT = re.compile(r"\\(?:url|path|texttt|textsc|textsf|mbox|text(?:color\s*\{[^{}]{0,40}\}))\s*\{([^{}]{0,400})\}")
_FOOTNOTE = re.compile(r"\\footnote\s*\{([^{}]{0,400})\}")
_REFERENCE = re.compile(r"~?\\(?:cite[a-z]*|ref|eqref|label)\s*(?:\[[^\[\]{}]{0,80}\]\s*)?\{[^{}]{0,200}\}")
_GROUPED = re.compile(r"([\^_])\{([^{}\\]{2,40})\}")
_RAISED = re.compile(r"\^(?:\{\s*([-+]?\d{1,6})\s*\}|(\d))")
_LOWERED = re.compile(r"_(?:\{\s*([-+]?\d{1,6})\s*\}|(\d))")
_SUPERSCRIPTS: Final = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
_SUBSCRIPTS: Final = str.maketrans("0123456789+-", "₀₁₂₃₄₅₆₇₈₉₊₋")
_QUOTED = re.compile(r"``([^`]{1,300}?)(?:''|\")")
_DASHES = re.compile(r"(?<![-\w])---?(?![-\w])|(?<=\w)---?(?=\w)")
_TIE = re.compile(r"(?<=[\w.])~(?=[\w(\\])")
_TAG = re.compile(
    r"</?(?:a|b|br|div|em|h[1-6]|i|italic|bold|jats:\w+|li|p|span|strong|sub|sup|u|ul)(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+")
# Invisible characters that can hide or reorder text: zero width, soft hyphen, direction overrides, byte order mark.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]")
# The typesetter's ligatures: nobody searches for them, and few fonts of mail programs draw them.
_PLAINER: Final = {ord(each): unicodedata.normalize("NFKC", each) for each in "ﬀﬁﬂﬃﬄﬅﬆ"} | {
    # … and the mathematical alphabets, which come out as boxes there.
    code: unicodedata.normalize("NFKC", chr(code))
    for code in range(0x1D400, 0x1D800)
}
_UNWRAPPINGS: Final = 3
"""Sources escape what is escaped already: ``&amp;amp;``."""


def plain(text: str) -> str:
    """One line of readable text in NFC: accents and formulas in Unicode where it has them, no markup, no control or
    invisible characters, single spaces. Never raises; what cannot be converted stays as it was."""
    for _ in range(_UNWRAPPINGS):
        if "&" not in text or (unescaped := html.unescape(text)) == text:
            break
        text = unescaped
    if "<" in text:
        text = _TAG.sub(" ", text)
    latex = "\\" in text or "$" in text
    if "``" in text:
        text = _QUOTED.sub(r"“\1”", text)
    if "~" in text:
        text = _TIE.sub(" ", text)
    if "--" in text:
        text = _DASHES.sub(lambda found: "—" if len(found[0]) == 3 else "–", text)
    if latex:
        text = _LINK.sub(lambda found: found[2] if "/" in found[2] else f"{found[2]} ({found[1]})", text)
        text = _ARGUMENT.sub(r"\1", text)
        text = _FOOTNOTE.sub(r" (\1)", text)
        text = _REFERENCE.sub("", text)
        text = _FORMULA.sub(lambda found: _unlatexed(found[0]), text)
        text = _COMMAND.sub(lambda found: _unlatexed(found[0]), text)
        text = _BRACES.sub(r"\1", text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text).translate(_PLAINER)
    text = _SPACE.sub(" ", text).strip()
    if not text.isprintable():
        shown = "".join(character if character.isprintable() else " " for character in text)
        text = _SPACE.sub(" ", shown).strip()
    return unicodedata.normalize("NFC", text)


def original(written: object, readable: str | None) -> str | None:
    """What the source wrote, to be kept where it is more than ``readable`` with other white space; None: nothing to
    keep. What no database holds (NUL, lone surrogates) becomes U+FFFD or ``?``; it ends after LONGEST_ORIGINAL."""
    if not isinstance(written, str) or readable is None:
        return None
    written = written[:LONGEST_ORIGINAL]
    if written == readable or _SPACE.sub(" ", written).strip() == readable:
        return None
    return written.replace("\x00", "\ufffd").encode("utf-8", "replace").decode() if _unholdable(written) else written


def title_key(title: str) -> str:
    """The letters and digits of a title, case and accents folded: equal for two printings of one title."""
    return readable_key(plain(title))


def readable_key(title: str) -> str:
    """As :func:`title_key`, of a title that is readable already: what :func:`plain` gave."""
    if title.isascii():
        return "".join(_WORD.findall(title.lower()))
    folded = unicodedata.normalize("NFKD", title).casefold()
    return "".join(_WORD.findall("".join(each for each in folded if not unicodedata.combining(each))))


def _unholdable(written: str) -> bool:
    return "\x00" in written or any("\ud800" <= each <= "\udfff" for each in written)


@lru_cache(maxsize=16_384)
def _unlatexed(latex: str) -> str:
    try:
        # A % begins a comment in LaTeX; in an abstract it means percent.
        written = re.sub(r"(?<!\\)%", r"\\%", latex)
        if "$" in written or written.startswith(("\\(", "\\[")):
            written = _RAISED.sub(lambda found: (found[1] or found[2]).translate(_SUPERSCRIPTS), written)
            written = _LOWERED.sub(lambda found: (found[1] or found[2]).translate(_SUBSCRIPTS), written)
            written = _GROUPED.sub(r"\1(\2)", written)
        readable = str(_LATEX.latex_to_text(written))
    except Exception:  # noqa: BLE001 (on broken LaTeX the library's macros raise whatever they happen to raise)
        return latex
    # A macro that is not known comes out empty: better its name than a hole in the sentence.
    return readable if readable.strip() or not re.search(r"[A-Za-z]{2}", latex) else latex.lstrip("\\")
