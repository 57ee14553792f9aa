"""What kinds of mail there are to tell apart, and who is entitled to which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.database.tables import DeliveryKind, ReaderState

DIGESTS: Final = frozenset({DeliveryKind.DIGEST, DeliveryKind.RESEND})
"""What pauses hold back, and what comes after all other mail."""
ENTITLED: Final[Mapping[DeliveryKind, frozenset[ReaderState]]] = {
    DeliveryKind.CONFIRM: frozenset({ReaderState.PENDING}),
    DeliveryKind.WELCOME: frozenset({ReaderState.ACTIVE}),
    DeliveryKind.DIGEST: frozenset({ReaderState.ACTIVE}),
    DeliveryKind.RESEND: frozenset({ReaderState.ACTIVE}),
    DeliveryKind.PAUSE_ENDED: frozenset({ReaderState.ACTIVE}),
    DeliveryKind.ADDRESS_CONFIRM: frozenset({ReaderState.ACTIVE}),
    DeliveryKind.ADDRESS_NOTICE: frozenset(ReaderState),
    DeliveryKind.SIGN_IN: frozenset(ReaderState),
}
"""In which states a reader gets a kind, when it is composed and when it leaves. Kinds that are not here are not sent to
readers."""
