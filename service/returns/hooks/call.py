"""What every provider's module shares: a call, why one is refused, and what to make of its words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from service.database.tables import ReturnKind
from service.papers.fetching import Fetcher
from service.settings import Settings
from service.subscribers import status_codes
from service.subscribers.return_addresses import AddressPurpose, ForgedAddress, ReturnAddresses
from service.subscribers.returned import Return

AHEAD: Final = timedelta(minutes=10)
"""How far a provider's clock may be before ours."""
_Model = TypeVar("_Model")


class HookError(Exception):
    """A call that is not acted on. One line."""


class ForgedCall(HookError):
    """Not from the provider, or too old."""


class MalformedCall(HookError):
    """From the provider, and not of the form that it documents."""


@dataclass(frozen=True, slots=True)
class Call:
    """A POST as it came."""

    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Provider(Protocol):
    """A mail provider that calls back."""

    def configured(self, settings: Settings) -> bool:
        """Whether its calls are taken."""

    def read(self, call: Call, settings: Settings, fetcher: Fetcher, now: datetime) -> list[Return]:
        """What a call reports; nothing for kinds of events that we do not act on.

        Raises :class:`ForgedCall` before anything is believed, :class:`MalformedCall` after.
        """


class Loose(BaseModel):
    """A part of a provider's JSON: what is not named here is passed over, providers add fields at will."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


def understood(kind: type[_Model], body: bytes | str) -> _Model:
    """JSON as a model. Raises :class:`MalformedCall`."""
    try:
        return TypeAdapter(kind).validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise MalformedCall(f"{where}: {first['msg']}") from None


def check_age(at: datetime, settings: Settings, now: datetime) -> None:
    """Raises :class:`ForgedCall` for a signature outside the window."""
    if not now - timedelta(hours=settings.hook_window_hours) <= at <= now + AHEAD:
        raise ForgedCall("the signature is too old, or from the future: check the clock of this machine")


def permanent(code: str | None) -> ReturnKind:
    """The kind of what a provider calls permanent: what the code says, where it says something."""
    kind = status_codes.kind_of(code) if code is not None and not code.endswith(".0.0") else None
    return kind or ReturnKind.HARD_BOUNCE


def delivery_of(envelope_sender: str, settings: Settings) -> int | None:
    """The delivery that an envelope sender of ours names."""
    try:
        signed = ReturnAddresses(settings).read(envelope_sender)
    except ForgedAddress:
        return None
    return signed.id if signed.purpose is AddressPurpose.BOUNCE else None
