"""The last look before a message goes out: an unsubscribe or a suppression a second ago wins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from service.database.tables import DeliveryKind, ReaderState
from service.outbox import letters
from service.outbox.kinds import DIGESTS, ENTITLED
from service.settings import Settings
from service.subscribers import addresses, suppression

# By the primary keys of the three tables. A letter goes to its own address, whatever its reader's is.
STILL_OURS = text("""
    SELECT delivery.id, delivery.kind, reader.state, coalesce(letter.address_key, reader.address_key),
        reader.paused_until > now(), EXISTS (SELECT FROM digest_pause)
    FROM delivery LEFT JOIN reader ON reader.id = delivery.reader_id
        LEFT JOIN letter ON letter.delivery_id = delivery.id
    WHERE delivery.id = ANY(:ids) AND delivery.id BETWEEN :first AND :last
        AND delivery.state = 'sending' AND delivery.lease_owner = :owner
""")


@dataclass(frozen=True, slots=True)
class Recheck:
    """What the last look found."""

    entitled: frozenset[int]
    """Deliveries that may go."""
    cancelled: dict[int, str]
    """Deliveries that may not, and why."""
    held: frozenset[int]
    """Digests that go back to the queue, since all are paused. Those in none of the three are no longer this
    sender's."""


def recheck(session: Session, settings: Settings, owner: str, delivery_ids: Iterable[int]) -> Recheck:
    """Look again at the readers behind ``delivery_ids``, and whether ``owner`` still holds the rows."""
    ids = sorted(delivery_ids)
    months = {"first": min(ids, default=0), "last": max(ids, default=0)}
    found = session.execute(STILL_OURS, {"ids": ids, "owner": owner, **months}).all()
    hashes = {key: addresses.hashed(settings, key) for _, _, _, key, *_ in found if key is not None}
    suppressed = suppression.among(session, hashes.values())
    entitled: set[int] = set()
    cancelled: dict[int, str] = {}
    held: set[int] = set()
    for delivery_id, kind, state, key, paused, all_paused in found:
        if key is None or (state is None and DeliveryKind(kind) not in letters.READERLESS):
            cancelled[delivery_id] = "the reader is gone"
        elif paused and kind in DIGESTS:
            cancelled[delivery_id] = "the reader has paused"
        elif state is not None and ReaderState(state) not in ENTITLED.get(DeliveryKind(kind), ()):
            cancelled[delivery_id] = f"the reader is {state}"
        elif hashes[key] in suppressed:
            cancelled[delivery_id] = "the address is suppressed"
        elif all_paused and kind in DIGESTS:
            held.add(delivery_id)
        else:
            entitled.add(delivery_id)
    return Recheck(frozenset(entitled), cancelled, frozenset(held))
