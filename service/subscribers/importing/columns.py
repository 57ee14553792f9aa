"""What the cells of a row mean: which column is what, and from cells to an entry or a problem. Pure.

Known shapes are our own export, listmonk's and Mailchimp's; any other header is understood by its names or by a
mapping given with it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeVar

from service.database.tables import Abstracts, Cadence, SuppressionReason, Weight
from service.matching import language
from service.matching.language import QueryError
from service.subscribers import addresses, schedule
from service.subscribers.accounts import AccountError, Preferences, check
from service.subscribers.addresses import Address
from service.subscribers.interests import MOST, Tuning, Wish, shortened
from service.subscribers.schedule import ScheduleError


class Shape(StrEnum):
    """Whose export a file is."""

    CSV = "csv"
    LISTMONK = "listmonk"
    MAILCHIMP = "mailchimp"


class Column(StrEnum):
    """What a column may be mapped to."""

    EMAIL = "email"
    TOPICS = "topics"
    QUERIES = "queries"
    MUTED_TOPICS = "muted_topics"
    MUTED_QUERIES = "muted_queries"
    MORE_TOPICS = "more_topics"
    """Followed, with more of a crowded digest; named among ``topics`` too or not. So with the next five."""
    MORE_QUERIES = "more_queries"
    LESS_TOPICS = "less_topics"
    LESS_QUERIES = "less_queries"
    INSTANT_TOPICS = "instant_topics"
    """Followed, and a digest comes as soon as there is something."""
    INSTANT_QUERIES = "instant_queries"
    HOUR = "hour"
    TIMEZONE = "timezone"
    WEEKDAYS = "weekdays"
    LIMIT = "limit"
    CADENCE = "cadence"
    ABSTRACTS = "abstracts"
    PLAIN_TEXT = "plain_text"
    TRENDING = "trending"
    LANGUAGE = "language"
    STATE = "state"
    EVIDENCE = "evidence"


Choice = TypeVar("Choice", bound=StrEnum)

_LANGUAGE_TAG: Final = re.compile("[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}")
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Headers in lower case, everything but letters and digits removed.
_NAMES: Final = {
    Column.EMAIL: ("email", "emailaddress", "mail", "address", "subscriber"),
    Column.TOPICS: ("topics", "topic"),
    Column.QUERIES: ("queries", "query", "keywords"),
    Column.MUTED_TOPICS: ("mutedtopics",),
    Column.MUTED_QUERIES: ("mutedqueries",),
    Column.MORE_TOPICS: ("moretopics",),
    Column.MORE_QUERIES: ("morequeries",),
    Column.LESS_TOPICS: ("lesstopics",),
    Column.LESS_QUERIES: ("lessqueries",),
    Column.INSTANT_TOPICS: ("instanttopics",),
    Column.INSTANT_QUERIES: ("instantqueries",),
    Column.HOUR: ("hour", "digesthour"),
    Column.TIMEZONE: ("timezone", "tz"),
    Column.WEEKDAYS: ("weekdays", "days"),
    Column.LIMIT: ("limit", "paperlimit", "papers"),
    Column.CADENCE: ("cadence", "frequency"),
    Column.ABSTRACTS: ("abstracts",),
    Column.PLAIN_TEXT: ("plaintext", "textonly"),
    Column.TRENDING: ("trending",),
    Column.LANGUAGE: ("language", "lang"),
    Column.STATE: ("state", "status"),
    Column.EVIDENCE: ("evidence", "consent"),
}
_MAILCHIMP_EVIDENCE: Final = ("OPTIN_TIME", "OPTIN_IP", "CONFIRM_TIME", "CONFIRM_IP")
_BLOCKED_STATES: Final = {
    "blocklisted": SuppressionReason.OPERATOR,
    "blacklisted": SuppressionReason.OPERATOR,
    "suppressed": SuppressionReason.OPERATOR,
    "complained": SuppressionReason.COMPLAINT,
    "bounced": SuppressionReason.HARD_BOUNCE,
    "cleaned": SuppressionReason.HARD_BOUNCE,
}
_TAKEN_STATES: Final = frozenset({"", "active", "enabled", "subscribed", "confirmed"})


class ColumnsError(Exception):
    """A header that does not say where the addresses are. One line: the thing and the remedy."""


class RowProblem(Exception):
    """A row that cannot be taken. One line, without the address."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row each thing stands."""

    shape: Shape
    width: int
    """Cells of the header."""
    at: Mapping[Column, int]
    evidence: tuple[tuple[str, int], ...] = ()
    """Columns that another service kept as evidence of consent: name and place."""
    blocked: int | None = None
    """A column that is filled only where the address must not be mailed."""
    left: int | None = None
    """A column that is filled only where the reader has unsubscribed."""


@dataclass(frozen=True, slots=True)
class TunedWish(Wish):
    """A wish, and how the interest is to be treated."""

    weight: Weight = Weight.NORMAL
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that can be taken."""

    row: int
    address: Address
    preferences: Preferences
    language: str
    wishes: tuple[TunedWish, ...]
    """Empty: the default of the import."""
    evidence: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A row whose address must not be mailed, says the list it comes from."""

    row: int
    address: Address
    reason: SuppressionReason
    detail: str


def layout(header: Sequence[str], mapping: Mapping[str, str] | None = None, shape: Shape | None = None) -> Layout:
    """Understand a header. ``mapping`` (header name → :class:`Column`) outweighs what the names suggest.

    Raises :class:`ColumnsError`.
    """
    names = [name.strip().removeprefix("\ufeff") for name in header]
    folded = ["".join(character for character in name.lower() if character.isalnum()) for name in names]
    kind = shape or _shape(names)
    at: dict[Column, int] = {}
    for column, known in _NAMES.items():
        for place, name in enumerate(folded):
            if name in known and column not in at:
                at[column] = place
    for name, target in (mapping or {}).items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its columns are {', '.join(names)[:200]}"
            raise ColumnsError(f"the file has no column “{name[:64]}”; {hint}")
        if target not in list(Column):
            raise ColumnsError(f"a column cannot be mapped to “{target[:64]}”: choose one of {', '.join(Column)}")
        at[Column(target)] = names.index(name)
    if Column.EMAIL not in at:
        raise ColumnsError("no column holds addresses: name it, for example --map 'Contact=email'")
    if kind is Shape.MAILCHIMP:
        at.pop(Column.STATE, None)
    return Layout(
        shape=kind,
        width=len(names),
        at=at,
        evidence=tuple((name, names.index(name)) for name in _MAILCHIMP_EVIDENCE if name in names),
        blocked=_place(names, "CLEAN_TIME"),
        left=_place(names, "UNSUB_TIME"),
    )


class Understanding:
    """From the cells of a row to an entry, by one layout and one set of defaults.

    ``topics`` are those of the catalogue, by slug.
    """

    def __init__(self, layout: Layout, topics: Mapping[str, Wish], defaults: Preferences, language: str) -> None:
        self._layout = layout
        self._topics = topics
        self._defaults = defaults
        self._language = language
        self._alone, self._what, self._when = (
            tuple(layout.at.get(column, layout.width) for column in each)
            for each in (_ALONE, tuple(_WISHES), _PREFERENCES)
        )
        self._wishes = lru_cache(maxsize=100_000)(self._wished)
        self._preferences = lru_cache(maxsize=100_000)(self._preferred)

    def entry(self, number: int, cells: Sequence[str]) -> Entry | Blocked:
        """What a row says. Raises :class:`RowProblem`."""
        layout = self._layout
        if len(cells) > layout.width:
            raise RowProblem(f"has {len(cells)} cells where the header has {layout.width}")
        # Cells that a short row leaves out are empty; the last one stands for columns that the file does not have.
        full = [cell.strip() for cell in cells] + [""] * (layout.width + 1 - len(cells))
        email, state, language, said = (full[place] for place in self._alone)
        if not email:
            raise RowProblem("has no address")
        try:
            address = addresses.parse(email)
        except addresses.AddressError as error:
            raise RowProblem(str(error)) from None
        kept_as = "cleaned" if layout.blocked is not None and full[layout.blocked] else state.lower()
        if kept_as in _BLOCKED_STATES:
            return Blocked(number, address, _BLOCKED_STATES[kept_as], f"{kept_as} in an imported list")
        if layout.left is not None and full[layout.left]:
            raise RowProblem("has unsubscribed: left out")
        if state.lower() not in _TAKEN_STATES:
            raise RowProblem(f"is “{state[:40]}” in its list: left out")
        return Entry(
            row=number,
            address=address,
            preferences=self._preferences(*[full[place] for place in self._when]),
            language=_tag(language) if language else self._language,
            wishes=self._wishes(*[full[place] for place in self._what]),
            evidence=self._evidence(said, full),
        )

    def _evidence(self, said: str, cells: Sequence[str]) -> str:
        if not said and not self._layout.evidence:
            return ""
        kept = [f"{name} {cells[place]}" for name, place in self._layout.evidence if cells[place]]
        return "; ".join([said, *kept] if said else kept).replace("\x00", "")[:500]

    def _wished(self, *written: str) -> tuple[TunedWish, ...]:
        """From the cells of :data:`_WISHES`. What several columns name is one wish with all they say."""
        wishes: dict[tuple[str, bool], TunedWish] = {}
        for cell, (column, tuning) in zip(written, _WISHES.items(), strict=True):
            if not cell:
                continue
            read = self._by_slug if column in _TOPIC_COLUMNS else _by_text
            named = read(cell, muted=tuning.muted is True)
            for wish in named:
                before = wishes.get((wish.query_text, wish.muted))
                wishes[wish.query_text, wish.muted] = TunedWish(
                    wish.label if before is None else before.label,
                    wish.query_text,
                    wish.topic_slug if before is None else before.topic_slug,
                    wish.muted,
                    tuning.weight or (before.weight if before is not None else Weight.NORMAL),
                    tuning.instant or (before is not None and before.instant),
                )
        if len(wishes) > MOST:
            raise RowProblem(f"has {len(wishes)} interests: at most {MOST} are possible")
        return tuple(wishes.values())

    def _by_slug(self, written: str, *, muted: bool) -> list[Wish]:
        found = []
        for slug in written.replace(",", " ").replace(";", " ").split():
            known = self._topics.get(slug)
            if known is None:
                close = difflib.get_close_matches(slug, self._topics, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise RowProblem(f"names a topic that is not there: “{slug[:64]}”{hint}")
            found.append(Wish(known.label, known.query_text, known.topic_slug, muted))
        return found

    def _preferred(
        self,
        hour: str,
        timezone: str,
        weekdays: str,
        limit: str,
        cadence: str,
        abstracts: str,
        plain_text: str,
        trending: str,
    ) -> Preferences:
        defaults = self._defaults
        try:
            preferences = Preferences(
                hour=_number(hour.removesuffix(":00"), "hour") if hour else defaults.hour,
                timezone=timezone or defaults.timezone,
                weekdays=weekday_mask(weekdays) if weekdays else defaults.weekdays,
                paper_limit=_number(limit, "limit") if limit else defaults.paper_limit,
                cadence=_one_of(Cadence, cadence) if cadence else defaults.cadence,
                abstracts=_one_of(Abstracts, abstracts) if abstracts else defaults.abstracts,
                plain_text=_truth(plain_text, "plain_text") if plain_text else defaults.plain_text,
                trending=_truth(trending, "trending") if trending else defaults.trending,
            )
            check(preferences)
        except (ScheduleError, AccountError) as error:
            raise RowProblem(str(error)) from None
        return preferences


_ALONE: Final = (Column.EMAIL, Column.STATE, Column.LANGUAGE, Column.EVIDENCE)
_WISHES: Final = {
    Column.TOPICS: Tuning(muted=False),
    Column.QUERIES: Tuning(muted=False),
    Column.MORE_TOPICS: Tuning(Weight.MORE, muted=False),
    Column.MORE_QUERIES: Tuning(Weight.MORE, muted=False),
    Column.LESS_TOPICS: Tuning(Weight.LESS, muted=False),
    Column.LESS_QUERIES: Tuning(Weight.LESS, muted=False),
    Column.INSTANT_TOPICS: Tuning(instant=True, muted=False),
    Column.INSTANT_QUERIES: Tuning(instant=True, muted=False),
    Column.MUTED_TOPICS: Tuning(muted=True),
    Column.MUTED_QUERIES: Tuning(muted=True),
}
_TOPIC_COLUMNS: Final = frozenset(column for column in _WISHES if column.endswith("topics"))
_PREFERENCES: Final = (
    Column.HOUR,
    Column.TIMEZONE,
    Column.WEEKDAYS,
    Column.LIMIT,
    Column.CADENCE,
    Column.ABSTRACTS,
    Column.PLAIN_TEXT,
    Column.TRENDING,
)
_TRUTHS: Final = {"yes": True, "true": True, "t": True, "1": True, "no": False, "false": False, "f": False, "0": False}


def weekday_mask(written: str) -> int:
    """``mon,wed fri`` as a set of bits, Monday the lowest. Raises :class:`ScheduleError`."""
    mask = 0
    for word in written.lower().replace(",", " ").replace(";", " ").split():
        if word[:3] not in _WEEKDAYS:
            raise ScheduleError(f"“{word[:40]}” is not a weekday: write them like mon,tue,fri")
        mask |= 1 << _WEEKDAYS.index(word[:3])
    return mask or schedule.EVERY_DAY


def weekday_names(mask: int) -> str:
    """The other way round."""
    return ",".join(name for bit, name in enumerate(_WEEKDAYS) if mask >> bit & 1)


def _tag(written: str) -> str:
    """A language tag (RFC 5646), as plain as mails need it."""
    if not _LANGUAGE_TAG.fullmatch(written):
        raise RowProblem(f"“{written[:40]}” is not a language: write it like en or pt-BR")
    return written


def _by_text(written: str, *, muted: bool) -> list[Wish]:
    """One query a line."""
    wishes = []
    for line in written.splitlines():
        typed = " ".join(line.split())
        if typed:
            try:
                language.parse(typed)
            except QueryError as error:
                raise RowProblem(f"has a query that cannot be understood: {error}") from None
            wishes.append(Wish(shortened(typed), typed, muted=muted))
    return wishes


def _number(written: str, what: str) -> int:
    if not written.isascii() or not written.isdigit() or len(written) > 6:
        raise ScheduleError(f"“{written[:40]}” is not a number: {what} takes a whole one")
    return int(written)


def _truth(written: str, what: str) -> bool:
    try:
        return _TRUTHS[written.lower()]
    except KeyError:
        raise RowProblem(f"“{written[:40]}” is not an answer: {what} takes yes or no") from None


def _one_of(choices: type[Choice], written: str) -> Choice:
    try:
        return choices(written.lower())
    except ValueError:
        raise RowProblem(f"“{written[:40]}” is not known: write {' or '.join(choices)}") from None


def _shape(names: Sequence[str]) -> Shape:
    if {"uuid", "email", "attributes", "status"} <= set(names):
        return Shape.LISTMONK
    if "Email Address" in names and {"LEID", "EUID", "MEMBER_RATING", "OPTIN_TIME"} & set(names):
        return Shape.MAILCHIMP
    return Shape.CSV


def _place(names: Sequence[str], name: str) -> int | None:
    return names.index(name) if name in names else None
