"""The one normaliser, for papers and for queries: a word means the same on both sides. Pure.

Text becomes a stream of whole tokens: compatibility forms folded (NFKC), case and accents gone, LaTeX reduced to what
it prints, hyphens and slashes as spaces, English plurals folded lightly, a Greek letter spelled out, and what is as
often written in one word as in two made one (multi-modal, multimodal). Tokens are never cut, so "lora" is not in
"exploration". docs/query-language.md says what readers are told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from service.papers.text import plain

# Invisible inside words, as copied from a PDF or a web page: soft hyphen, zero-width space and joiners, and the like.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
# Accents and the like; not the marks that make another letter in scripts of Asia.
_ACCENT = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]"
)
# Letters with a stroke do not come apart by themselves.
_STROKED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"})
# The plural of an acronym, told by its case: LMs, APIs, ReLUs, but not GPS.
# Begins with its one letter, which the engine finds fast.
_ACRONYM_PLURAL = re.compile(r"s(?<=[^\W_][A-Z]s)(?![^\W_])")
_POSSESSIVE = re.compile(r"['’ʼ]s\b")
_APOSTROPHE = re.compile(r"['’ʼ]")
_LANGUAGE_NAME = re.compile(r"(?<![^\W_])([cf])(\+\+|#)")
# Letters and digits; the vowel signs of India's scripts belong to their words.
_WORD = re.compile("(?:[^\\W_]|[\u0900-\u0963\u0970-\u0dff])+")
_PLAIN_WORD = re.compile("[a-z0-9]+")
"""The same in folded ASCII, where it is several times as fast."""
# Scripts written without spaces: one token a character, so that a phrase finds a word inside a run of text.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
_GREEK_LETTER = re.compile("[α-ω]")
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi"
        " chi psi omega".split(),
        strict=True,
    )
)

_IRREGULAR = dict(
    pair.split(":")
    for pair in """
    ais:ai apis:api asics:asic cpus:cpu dpus:dpu glus:glu gpus:gpu grus:gru icus:icu imus:imu kpis:kpi mcus:mcu
    menus:menu mris:mri npus:npu pois:poi relus:relu rois:roi skus:sku tpus:tpu uis:ui guis:gui vpus:vpu
    analyses:analysis axes:axis bases:base crises:crisis diagnoses:diagnosis emphases:emphasis hypotheses:hypothesis
    metastases:metastasis oases:oasis parentheses:parenthesis prognoses:prognosis syntheses:synthesis theses:thesis
    appendices:appendix codices:codex helices:helix indices:index matrices:matrix simplices:simplex vertices:vertex
    automata:automaton bacteria:bacterium corpora:corpus criteria:criterion formulae:formula maxima:maximum
    minima:minimum optima:optimum phenomena:phenomenon spectra:spectrum strata:stratum taxa:taxon
    foci:focus loci:locus nuclei:nucleus radii:radius stimuli:stimulus
    children:child feet:foot men:man mice:mouse teeth:tooth women:woman
    halves:half knives:knife leaves:leaf shelves:shelf wolves:wolf
    avalanches:avalanche caches:cache headaches:headache niches:niche
    calories:calorie cookies:cookie movies:movie selfies:selfie zombies:zombie
    echoes:echo heroes:hero mosquitoes:mosquito potatoes:potato tomatoes:tomato vetoes:veto volcanoes:volcano
    apparatuses:apparatus bonuses:bonus buses:bus campuses:campus corpuses:corpus focuses:focus statuses:status
    stimuluses:stimulus viruses:virus quizzes:quiz
    """.split()
)
"""Plurals that no rule below gets right."""
_NOT_PLURAL = frozenset(
    "alias atlas bias canvas chaos christmas cosmos ethos gas lens pandas species series always perhaps across"
    " whereas towards besides sometimes does mars mems news odds sars".split()
)
_IRREGULAR |= {f"{word}es": word for word in ("alias", "atlas", "bias", "canvas", "gas", "lens")}
# Words in -ics are mostly names of fields (physics, dynamics); these few are true plurals.
_PLURAL_IN_ICS = frozenset(
    "topics metrics heuristics characteristics comics clinics lyrics antibiotics logics epidemics critics fabrics"
    " mosaics harmonics plastics ceramics academics".split()
)
# Beginnings that are no words of their own: what follows is written to them with a hyphen, a space or nothing. Chosen
# with a look at both halves of the labels (benchmarks/relevance.py, decision 017); others (self-, cross-, re-) are
# hardly ever written in one.
_BEGINNINGS = frozenset(("multi", "non", "pre", "semi"))
# Words of their own, which only in these pairs are also written as one.
_PAIRS = {
    "data": frozenset(("set",)),
    "fine": frozenset(("tune", "tuned", "tuner", "tuning")),
    "post": frozenset(("train", "trained", "training")),
}
_OPENERS = _BEGINNINGS | _PAIRS.keys()
_NEVER_JOINED = frozenset(("a", "and", "are", "as", "but", "for", "in", "is", "nor", "of", "or", "the", "to", "vs"))
"""After "multi- and cross-lingual" the beginning stands alone."""


def tokens(text: str) -> list[str]:
    """The tokens of ``text`` in order. Empty for text without letters or digits."""
    folded = _folded(text)
    if folded.isascii():
        found = [*map(singular, _PLAIN_WORD.findall(folded))]
    else:
        found = [token for word in _WORD.findall(folded) for token in _split(word)]
    return found if _OPENERS.isdisjoint(found) else compounded(found)


def compounded(words: Sequence[str]) -> list[str]:
    """Tokens with those joined that are as often written in one: ``fine tuning`` is ``finetuning``."""
    if _OPENERS.isdisjoint(words):
        return list(words)
    made: list[str] = []
    after = False
    for place, word in enumerate(words):
        if after:
            after = False
        elif word not in _OPENERS:
            made.append(word)
        elif place + 1 < len(words) and belongs(word, words[place + 1]):
            made.append(word + words[place + 1])
            after = True
        else:
            made.append(word)
    return made


def belongs(word: str, following: str) -> bool:
    """Whether two tokens side by side are one word in two pieces."""
    if word in _BEGINNINGS:
        return following not in _NEVER_JOINED and following not in _BEGINNINGS
    return word in _PAIRS and following in _PAIRS[word]


def joined(text: str) -> str:
    """The tokens of ``text`` with single spaces: what the index stores and an exact name is compared by."""
    return " ".join(tokens(text))


def name(text: str) -> str:
    """A person's name with case, accents and punctuation folded; nothing is taken for a plural."""
    return " ".join(_WORD.findall(_folded(text)))


def prefix(text: str) -> str:
    """The last token of ``text`` as the beginning of a word: not folded to a singular."""
    words = _WORD.findall(_folded(text))
    return words[-1] if words else ""


def _folded(text: str) -> str:
    if "\\" in text:
        text = plain(text)
    # Most texts are ASCII and hold none of these signs; each step is skipped where it would change nothing.
    if text.isascii():
        text = _ACRONYM_PLURAL.sub("", text).lower()
    else:
        text = _ACRONYM_PLURAL.sub("", _INVISIBLE.sub("", text))
        text = unicodedata.normalize("NFKC", text).casefold()
    if not text.isascii():
        # Apart, the accents out, and together again: syllables of Korean came apart too.
        apart = unicodedata.normalize("NFKD", text.translate(_STROKED))
        text = unicodedata.normalize("NFKC", _ACCENT.sub("", apart)).casefold()
    if _APOSTROPHE.search(text):
        text = _APOSTROPHE.sub("", _POSSESSIVE.sub("", text))
    if "+" not in text and "#" not in text:
        return text
    return _LANGUAGE_NAME.sub(lambda found: found[1] + ("plusplus" if found[2] == "++" else "sharp"), text)


def _split(word: str) -> list[str]:
    if word.isascii():
        return [singular(word)]
    spaced = _UNSPACED.sub(lambda found: f" {found[0]} ", word)
    return [singular(_spelled_out(part)) for part in spaced.split()]


def _spelled_out(word: str) -> str:
    """A Greek letter that serves as a sign (β, π0) by its name, as people type it; Greek words hold more of them."""
    greek = _GREEK_LETTER.findall(word)
    return word.replace(greek[0], _GREEK[greek[0]]) if len(greek) == 1 else word


@lru_cache(maxsize=65_536)
def singular(word: str) -> str:
    """A token with the ending of an English plural folded away, where that ending is one in nearly every word."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or not word.isascii():
        return word
    if word in _NOT_PLURAL or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ics") and word not in _PLURAL_IN_ICS:
        return word
    if word.endswith("ies") and len(word) > 4:
        stem = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        stem = word[:-2]
    else:
        stem = word[:-1]
    return _IRREGULAR.get(stem, stem)
