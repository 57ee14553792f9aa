"""What a posted form says: read leniently, kept as typed for the next try, understood with one line per problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from service import translation
from service.database.tables import Abstracts, Cadence, Weight
from service.matching.language import QueryError
from service.settings import Settings
from service.subscribers import addresses, interests, schedule
from service.subscribers.accounts import AccountError, Preferences, ReaderView
from service.subscribers.addresses import AddressError
from service.subscribers.interests import InterestError, InterestView, Tuning, Wish
from service.subscribers.schedule import ScheduleError
from service.translation import gettext as _

FORM_ERRORS = (AddressError, AccountError, InterestError, QueryError, ScheduleError)


@dataclass(frozen=True, slots=True)
class InterestForm:
    """The fields of the subscribe and preference forms, as typed."""

    email: str = ""
    topics: Sequence[str] = ()
    queries: str = ""
    muted: str = ""
    language: str = translation.ENGLISH.tag
    hour: int = 7
    timezone: str = "UTC"
    timezone_chosen: bool = False
    weekdays: int = schedule.EVERY_DAY
    limit: int = 12
    weekly: bool = False
    week_day: int = 0
    """0 is Monday: when a weekly mail comes."""
    full_abstracts: bool = False
    plain_text: bool = False
    trending: bool = True
    pause: str = ""
    """The day on which mails go on, ISO 8601; empty: no pause."""
    tunings: Mapping[int, Tuning] = field(default_factory=dict)
    """By query."""
    liked: str = ""
    """Papers to make interests of, one a line."""
    alike: Sequence[int] = ()
    """Papers chosen among those that a line may have meant."""
    likes: bool = False
    """The button that makes interests of them."""
    trapped: bool = False
    """A field that people do not see was filled in."""
    preview: bool = False
    """The button that only shows what would have come."""
    stamp: str = ""
    """When the form was shown, signed."""


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
        weekly=_text(data, "cadence") == Cadence.WEEKLY,
        week_day=min(max(_number(data, "week_day", 0), 0), 6),
        full_abstracts=_text(data, "abstracts") == Abstracts.FULL,
        plain_text=_text(data, "form") == "text",
        trending=_text(data, "trending") != "no",
        language=_text(data, "language") or translation.current().tag,
        pause=_text(data, "pause").strip(),
        tunings=_tunings(data),
        liked=_text(data, "liked"),
        alike=[int(each) for each in _texts(data, "alike") if each.isascii() and each.isdigit() and len(each) < 19],
        likes=bool(_text(data, "likes")),
        trapped=bool(_text(data, "website")),
        preview=bool(_text(data, "preview")),
        stamp=_text(data, "shown"),
    )


def understood(session: Session, form: InterestForm, *, with_address: bool) -> Understood:
    """What the form asks for, every problem told at once."""
    wishes: list[Wish] = []
    errors: list[str] = []
    weekdays = 1 << form.week_day if form.weekly else form.weekdays
    paused_until = None
    if form.pause:
        try:
            paused_until = date.fromisoformat(form.pause)
        except ValueError:
            errors.append(_("“%(written)s” is not a day: write it like 2027-01-31", written=form.pause[:20]))
    preferences = Preferences(
        hour=form.hour,
        timezone=form.timezone,
        weekdays=weekdays,
        paper_limit=form.limit,
        cadence=Cadence.WEEKLY if form.weekly else Cadence.DAILY,
        abstracts=Abstracts.FULL if form.full_abstracts else Abstracts.SHORT,
        plain_text=form.plain_text,
        trending=form.trending,
        paused_until=paused_until,
        language=translation.of(form.language).tag,
    )
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
        schedule.check(form.timezone, form.hour, weekdays)
    except ScheduleError as error:
        errors.append(str(error))
    if not 1 <= form.limit <= 50:
        errors.append(_("%(count)s papers in a mail are not possible: choose 1 to 50", count=form.limit))
    return Understood(wishes, preferences, errors)


def stored(reader: ReaderView, held: Sequence[InterestView]) -> InterestForm:
    """The form as the database would fill it."""
    typed = [each for each in held if each.topic_slug is None]
    weekly = reader.cadence is Cadence.WEEKLY
    return InterestForm(
        email=reader.email,
        topics=tuple(each.topic_slug for each in held if each.topic_slug is not None),
        queries="\n".join(_as_typed(each) for each in typed if not each.muted),
        muted="\n".join(_as_typed(each) for each in typed if each.muted),
        hour=reader.hour,
        timezone=reader.timezone,
        timezone_chosen=True,
        weekdays=schedule.EVERY_DAY if weekly else reader.weekdays,
        limit=reader.paper_limit,
        weekly=weekly,
        week_day=schedule.only_first(reader.weekdays).bit_length() - 1,
        full_abstracts=reader.abstracts is Abstracts.FULL,
        plain_text=reader.plain_text,
        trending=reader.trending,
        language=translation.of(reader.language).tag,
        pause=reader.paused_until.isoformat() if reader.paused_until else "",
        tunings={each.query_id: Tuning(each.weight, each.instant, each.muted) for each in held},
    )


def _as_typed(interest: InterestView) -> str:
    """What the reader wrote; the canonical text where the label had to be cut."""
    return interest.canonical if interest.label.endswith("…") else interest.label


def _tunings(data: FormData) -> dict[int, Tuning]:
    """``weight-<query>`` says less, normal, more or mute; ``instant-<query>`` is a box."""
    tunings = {}
    for name in data:
        _, _, query = name.partition("weight-")
        if query.isascii() and query.isdigit() and len(query) < 19:
            said = _text(data, name)
            weight = Weight[said.upper()] if said in ("less", "more") else Weight.NORMAL
            # Only topics are muted here; a query that is typed moves to the other field.
            muted = (said == "mute") if _text(data, f"topic-{query}") else None
            tunings[int(query)] = Tuning(weight, bool(_text(data, f"instant-{query}")), muted)
    return tunings


def _text(data: FormData, name: str) -> str:
    value = data.get(name)
    return value.replace("\x00", "") if isinstance(value, str) else ""


def _texts(data: FormData, name: str) -> list[str]:
    return [value for value in data.getlist(name) if isinstance(value, str)]


def _number(data: FormData, name: str, default: int) -> int:
    text = _text(data, name).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else (default if not text else -1)
