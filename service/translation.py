"""What people read, in their language: gettext catalogues (``translations/``), dates and numbers as CLDR writes them.

English is the source of every message, and what is shown where a catalogue lacks one. The language of the moment is a
context variable: the site sets it for a request, the composer for a reader, and whoever sets nothing, the commands and
the logs, speaks English.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from babel import Locale
from babel.dates import format_date, format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations
from jinja2 import Environment

import service

FOLDER: Final = Path(service.__file__).parent.parent / "translations"
"""One folder a language, named as Babel names locales; in each ``LC_MESSAGES/paperround.po``."""
DOMAIN: Final = "paperround"
TOPIC: Final = "topic"
"""The context of the words of the catalogue of topics: "Code" of a paper is another thing than a topic's name."""

Style = Literal["full", "medium", "short", "weekday", "long", "month"]
"""Of a day: with its weekday, as a date, without its year, its weekday alone in short or whole, its month and year."""


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A language that site and mails speak. There is one object of each, which is quick to be remembered by."""

    tag: str
    """As in HTML and in ``reader.language`` (RFC 5646)."""
    name: str
    """As its readers call it."""
    direction: Literal["ltr", "rtl"]
    locale: Locale

    @property
    def start(self) -> Literal["left", "right"]:
        """The side on which lines begin."""
        return "left" if self.direction == "ltr" else "right"


ENGLISH: Final = Language("en", "English", "ltr", Locale("en", "GB"))
LANGUAGES: Final = (
    ENGLISH,
    Language("de", "Deutsch", "ltr", Locale("de")),
    Language("fr", "Français", "ltr", Locale("fr")),
    Language("zh-Hans", "简体中文", "ltr", Locale("zh", script="Hans")),
    Language("ar", "العربية", "rtl", Locale("ar")),
)
_BY_TAG: Final = {language.tag.lower(): language for language in LANGUAGES}
_CURRENT: Final[ContextVar[Language]] = ContextVar("language", default=ENGLISH)


def current() -> Language:
    """The language of the moment."""
    return _CURRENT.get()


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Within, messages are in this language."""
    token = _CURRENT.set(language)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def speak(language: Language) -> None:
    """From here on, messages are in this language, to the end of the request or thread's work that runs here."""
    _CURRENT.set(language)


@lru_cache(maxsize=1_000)
def find(tag: str) -> Language | None:
    """The language of a tag: the same, or the nearest that its readers read (lookup of RFC 4647, 3.4)."""
    parts = tag.strip().lower().split("-")
    while parts:
        if (known := _BY_TAG.get("-".join(parts))) is not None:
            return known
        parts.pop()
    # Of Chinese there is one script, and whoever reads the other reads it sooner than English.
    return _BY_TAG["zh-hans"] if tag.strip().lower().startswith("zh") else None


def of(tag: str) -> Language:
    """The language of a reader's tag, else English."""
    return find(tag) or ENGLISH


@lru_cache(maxsize=1_000)
def negotiated(accept_language: str) -> Language:
    """The language that a browser likes best (RFC 9110, 12.5.4), else English."""
    wanted: list[tuple[float, Language]] = []
    for item in accept_language.split(",")[:30]:
        tag, _, quality = item.partition(";q=")
        language = find(tag)
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if language is not None and weight > 0:
            wanted.append((weight, language))
    # Of equal ones the first: max() keeps it.
    return max(wanted, key=lambda each: each[0])[1] if wanted else ENGLISH


# ---- messages --------------------------------------------------------------------------------------------------------


def gettext(message: str, **values: object) -> str:
    """The message in the language of the moment, ``values`` put in for ``%(name)s``."""
    said = str(_catalogue(_CURRENT.get().tag).gettext(message))
    return said % values if values else said


def ngettext(one: str, many: str, count: int, **values: object) -> str:
    """The same for a count, in the language's plural form; ``%(num)s`` is the count as the language writes it."""
    said = str(_catalogue(_CURRENT.get().tag).ngettext(one, many, count))
    return said % {"num": number(count), **values}


def topical(words: str) -> str:
    """A name, description or group of the catalogue of topics in the language of the moment; what an operator wrote
    stays as it was typed."""
    return str(_catalogue(_CURRENT.get().tag).pgettext(TOPIC, words))


def later(message: str) -> str:
    """Marks a message to be translated where it is shown, by :func:`gettext`."""
    return message


def _plain(message: str) -> str:
    return str(_catalogue(_CURRENT.get().tag).gettext(message))


def _plural(one: str, many: str, count: int) -> str:
    return str(_catalogue(_CURRENT.get().tag).ngettext(one, many, count))


def install(environment: Environment) -> None:
    """Give an environment with ``jinja2.ext.i18n`` the messages, days, numbers and lists of the language of the moment.

    In HTML a message is trusted and what is put into it is escaped.
    """
    environment.install_gettext_callables(_plain, _plural, newstyle=True)  # type: ignore[attr-defined]  # of the extension
    environment.globals["language"] = current
    environment.globals["weekdays"] = weekdays
    environment.filters.update(day=day, number=number, joined=joined, topical=topical)


def path(language: Language, folder: Path = FOLDER) -> Path:
    """Where a language's catalogue lies."""
    return folder / str(language.locale) / "LC_MESSAGES" / f"{DOMAIN}.po"


@lru_cache(maxsize=len(LANGUAGES))
def _catalogue(tag: str) -> NullTranslations:
    # Straight from the .po: nothing is built, so nothing can be forgotten; some milliseconds, once a process.
    language = _BY_TAG[tag.lower()]
    if language is ENGLISH:
        return NullTranslations()
    with path(language).open("rb") as source:
        catalogue = read_po(source, locale=language.locale, domain=DOMAIN)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled, domain=DOMAIN)


# ---- dates, numbers, lists -------------------------------------------------------------------------------------------

_ENGLISH_DAYS: Final[dict[Style, str]] = {
    "full": "EEEE, d MMMM y",
    "medium": "d MMM y",
    "short": "d MMM",
    "weekday": "EEE",
    "long": "EEEE",
    "month": "MMMM y",
}
_SKELETONS: Final[dict[Style, str]] = {"medium": "yMMMd", "short": "MMMd", "month": "yMMMM"}


def day(moment: date, style: Style = "full") -> str:
    """A day as the language writes it."""
    return _day(_CURRENT.get(), date(moment.year, moment.month, moment.day), style)


@lru_cache(maxsize=4_000)
def _day(language: Language, moment: date, style: Style) -> str:
    if language is ENGLISH or style in ("weekday", "long"):
        return format_date(moment, _ENGLISH_DAYS[style], language.locale)
    if style == "full":
        return format_date(moment, "full", language.locale)
    return format_skeleton(_SKELETONS[style], moment, locale=language.locale)


def weekdays(style: Style = "weekday") -> list[str]:
    """The names of the days of the week, Monday first."""
    return [day(date(2024, 1, 1 + each), style) for each in range(7)]


def number(count: int) -> str:
    """A count with the language's separators."""
    return str(count) if 0 <= count < 1_000 else format_decimal(count, locale=_CURRENT.get().locale)


def joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "a, b and c"."""
    # Not by Babel's lists: its pattern for two is the English one in many languages.
    if not words:
        return ""
    said = words[0]
    for word in words[1:-1]:
        said = gettext("%(first)s, %(next)s", first=said, next=word)
    return gettext("%(first)s and %(last)s", first=said, last=words[-1]) if len(words) > 1 else said
