"""What a posted form says: read leniently, kept as typed for the next try, understood with one line per problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from service.matching.language import QueryError
from service.settings import Settings
from service.subscribers import addresses, interests, schedule
from service.subscribers.accounts import AccountError, Preferences
from service.subscribers.addresses import AddressError
from service.subscribers.interests import InterestError, Wish
from service.subscribers.schedule import ScheduleError

FORM_ERRORS = (AddressError, AccountError, InterestError, QueryError, ScheduleError)


@dataclass(frozen=True, slots=True)
class InterestForm:
    """The fields of the subscribe and preference forms, as typed."""

    email: str = ""
    topics: Sequence[str] = ()
    queries: str = ""
    muted: str = ""
    hour: int = 7
    timezone: str = "UTC"
    timezone_chosen: bool = False
    weekdays: int = schedule.EVERY_DAY
    limit: int = 12
    trapped: bool = False
    """A field that people do not see was filled in."""
    preview: bool = False
    """The button that only shows what would have come."""


@dataclass(frozen=True, slots=True)
class Understood:
    """The form's meaning, or what is wrong with it."""

    wishes: list[Wish] = field(default_factory=list)
    preferences: Preferences = field(default_factory=Preferences)
    errors: list[str] = field(default_factory=list)


def read(data: FormData, settings: Settings) -> InterestForm:
    """The fields of a posted form; what is missing takes its default."""
    weekdays = sum({1 << int(day) for day in _texts(data, "weekday") if day in tuple("0123456")})
    # The short form on the front page has no weekday boxes.
    if _text(data, "every_day"):
        weekdays = schedule.EVERY_DAY
    return InterestForm(
        email=_text(data, "email").strip(),
        topics=tuple(dict.fromkeys(_texts(data, "topic"))),
        queries=_text(data, "queries"),
        muted=_text(data, "muted"),
        hour=_number(data, "hour", 7),
        timezone=_text(data, "timezone") or "UTC",
        timezone_chosen=True,
        weekdays=weekdays,
        limit=_number(data, "limit", settings.paper_limit),
        trapped=bool(_text(data, "website")),
        preview=bool(_text(data, "preview")),
    )


def understood(session: Session, form: InterestForm, *, with_address: bool) -> Understood:
    """What the form asks for, every problem told at once."""
    wishes: list[Wish] = []
    errors: list[str] = []
    preferences = Preferences(hour=form.hour, timezone=form.timezone, weekdays=form.weekdays, paper_limit=form.limit)
    if with_address:
        try:
            addresses.parse(form.email)
        except AddressError as error:
            errors.append(str(error))
    try:
        wishes += interests.from_topics(session, form.topics)
    except InterestError as error:
        errors.append(str(error))
    for lines, muted in ((form.queries, False), (form.muted, True)):
        for line in lines.splitlines():
            try:
                wishes += interests.from_queries([line], muted=muted)
            except QueryError as error:
                errors.append(f"“{line.strip()[:80]}”: {error}")
    try:
        schedule.check(form.timezone, form.hour, form.weekdays)
    except ScheduleError as error:
        errors.append(str(error))
    if not 1 <= form.limit <= 50:
        errors.append(f"{form.limit} papers in a mail are not possible: choose 1 to 50")
    return Understood(wishes, preferences, errors)


def _text(data: FormData, name: str) -> str:
    value = data.get(name)
    return value.replace("\x00", "") if isinstance(value, str) else ""


def _texts(data: FormData, name: str) -> list[str]:
    return [value for value in data.getlist(name) if isinstance(value, str)]


def _number(data: FormData, name: str, default: int) -> int:
    text = _text(data, name).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else (default if not text else -1)
