"""What a transport is and what it reports: one result a message, each of its own type.

A *transport* takes a batch of composed messages and yields exactly one :data:`Result` for each, in the order in which
they become known. When the relay can take no more, the messages not yet attempted are reported :class:`Unsent` and
:class:`RelayDown` is raised after the last result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class Outgoing(Protocol):
    """A message ready for its envelope (``mails.compose.Composed`` is one)."""

    @property
    def delivery_id(self) -> int: ...
    @property
    def envelope_sender(self) -> str: ...
    @property
    def recipient(self) -> str: ...
    @property
    def content(self) -> bytes:
        """RFC 5322 with CRLF line ends, not dot-stuffed."""


@dataclass(frozen=True, slots=True)
class _Result:
    delivery_id: int
    reply: str
    """The relay's last word, or what happened instead; one line."""


@dataclass(frozen=True, slots=True)
class Accepted(_Result):
    """The relay has taken responsibility for the message."""


@dataclass(frozen=True, slots=True)
class Deferred(_Result):
    """Refused for now, or tried twice without an answer before the message itself was sent."""


@dataclass(frozen=True, slots=True)
class Rejected(_Result):
    """Refused for good."""

    bad_address: str | None = None
    """The codes, where they speak of the address or its mailbox: a bounce, hard or soft by ``status_codes``. Without
    the relay's words, which often repeat the address."""


@dataclass(frozen=True, slots=True)
class Uncertain(_Result):
    """Sent to its final dot, but the reply never came: the relay may or may not have it (RFC 1047)."""


@dataclass(frozen=True, slots=True)
class Unsent(_Result):
    """Not attempted, through no fault of its own."""


@dataclass(frozen=True, slots=True)
class Throttled(_Result):
    """Not attempted, because a rate limit holds it back."""

    seconds: float
    """From now until its turn."""


Result = Accepted | Deferred | Rejected | Uncertain | Unsent | Throttled


class RelayDown(Exception):
    """The relay cannot be used now, whatever the message. One line: the relay, what is wrong and the remedy."""


class CannotRecord(RelayDown):
    """What would be sent now could not be recorded, so nothing is. One line: what is wrong and the remedy."""


class Record(Protocol):
    """Where a transport writes what it does, as it does it (``delivery.journal``)."""

    def begun(self, delivery_id: int) -> None:
        """Called before the message's content leaves. Raises :class:`CannotRecord`: then it must not."""

    def accepted(self, delivery_id: int, reply: str) -> None:
        """Called when the relay has taken the message, before anything more is read from it."""

    def void(self, delivery_id: int) -> None:
        """Called when it is known that a message begun did not get to the relay, or was refused."""


class Transport(Protocol):
    """A way to the relays: the sender needs no more of it than this."""

    def send(
        self, batch: Sequence[Outgoing], *, latest: float | None = None, record: Record | None = None
    ) -> AsyncIterator[Result]:
        """Send every message of ``batch``; see the module.

        ``latest``: the ``time.monotonic()`` after which no message's content may leave; what has not left by then is
        reported :class:`Unsent`. ``record`` is told of every message's content before it leaves, and of its answer.
        """

    async def close(self) -> None:
        """End all connections politely."""
