"""The one normaliser, for papers and for queries: a word means the same on both sides. Pure.

Text becomes a stream of whole tokens: compatibility forms folded (NFKC), case and accents gone, LaTeX reduced to its
words, hyphens and slashes as spaces, English plurals folded lightly. Tokens are never cut, so "lora" is not in
"exploration". The effect of each rule on precision and recall was measured on papers with labels; see
docs/query-language.md for what readers are told.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_LATEX_ACCENT = re.compile(r"""\\["'`^~=.](?:\s*\{\s*(\w)\s*\}|\s*(\w))""")
_LATEX_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")
_POSSESSIVE = re.compile(r"['’ʼ]s\b")
_APOSTROPHE = re.compile(r"['’ʼ]")
_LANGUAGE_NAME = re.compile(r"(?<![^\W_])([cf])(\+\+|#)")
_WORD = re.compile(r"[^\W_]+")
# Scripts written without spaces: one token a character, so that a phrase finds a word inside a run of text.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")

_IRREGULAR = {
    "analyses": "analysis",
    "bases": "base",
    "corpora": "corpus",
    "cpus": "cpu",
    "criteria": "criterion",
    "gpus": "gpu",
    "hypotheses": "hypothesis",
    "indices": "index",
    "matrices": "matrix",
    "npus": "npu",
    "phenomena": "phenomenon",
    "syntheses": "synthesis",
    "theses": "thesis",
    "tpus": "tpu",
    "vertices": "vertex",
}
_NOT_PLURAL = frozenset(
    "alias atlas bias canvas chaos christmas cosmos ethos gas lens pandas species series always perhaps across"
    " whereas towards".split()
)
# Words in -ics are mostly names of fields (physics, dynamics); these few are true plurals.
_PLURAL_IN_ICS = frozenset(
    "topics metrics heuristics characteristics comics clinics lyrics antibiotics logics epidemics".split()
)


def tokens(text: str) -> list[str]:
    """The tokens of ``text`` in order. Empty for text without letters or digits."""
    return [token for word in _WORD.findall(_folded(text)) for token in _split(word)]


def joined(text: str) -> str:
    """The tokens of ``text`` with single spaces: what the index stores and an exact name is compared by."""
    return " ".join(tokens(text))


def prefix(text: str) -> str:
    """The last token of ``text`` as the beginning of a word: not folded to a singular."""
    words = _WORD.findall(_folded(text))
    return words[-1] if words else ""


def _folded(text: str) -> str:
    if "\\" in text:
        text = _LATEX_ACCENT.sub(lambda found: found[1] or found[2], text)
        text = _LATEX_COMMAND.sub(r" \1 ", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text)
        text = "".join(character for character in apart if not unicodedata.combining(character))
        # Korean syllables came apart too; put them together again.
        text = unicodedata.normalize("NFC", text)
    text = _POSSESSIVE.sub("", text)
    text = _APOSTROPHE.sub("", text)
    return _LANGUAGE_NAME.sub(lambda found: found[1] + ("plusplus" if found[2] == "++" else "sharp"), text)


def _split(word: str) -> list[str]:
    if not word.isascii() and _UNSPACED.search(word):
        spaced = _UNSPACED.sub(lambda found: f" {found[0]} ", word)
        return [_singular(part) for part in spaced.split()]
    return [_singular(word)]


@lru_cache(maxsize=65_536)
def _singular(word: str) -> str:
    """Light plural folding: only endings that are plurals in nearly every English word."""
    if len(word) < 4 or not word.endswith("s") or not word.isascii():
        return _IRREGULAR.get(word, word)
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _NOT_PLURAL or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ics") and word not in _PLURAL_IN_ICS:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    return word[:-1]
