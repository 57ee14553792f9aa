"""A chunk of entries into the tables, in the caller's transaction.

1. COPY the chunk into two temporary tables: the readers, and the distinct sets of interests among them.
2. One statement enters readers that are neither known nor suppressed, with their interests and their consent.
3. Addresses that must not be mailed go into the suppressions.

Who is known already stays as they are: an old list must not bring back who has unsubscribed, nor undo what a reader
chose. So the same chunk twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from service.database.arrays import escaped
from service.database.engine import raw
from service.matching import language, queries
from service.settings import Settings
from service.subscribers import accounts, addresses, schedule, suppression
from service.subscribers.consent import ConsentKind
from service.subscribers.importing.columns import Blocked, Entry, TunedWish
from service.subscribers.interests import by_query

_STAGE: Final = """
    CREATE TEMPORARY TABLE IF NOT EXISTS entering (
        email text, address_key text, address_hash bytea, timezone text, digest_hour smallint, weekdays smallint,
        paper_limit smallint, cadence text, abstracts text, plain_text boolean, trending boolean, language text,
        next_digest_at timestamptz, evidence text, interests integer
    ) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE IF NOT EXISTS entering_interest (
        interests integer, query_id bigint, topic_slug text, label text, muted boolean, weight smallint, instant boolean
    ) ON COMMIT DELETE ROWS;
"""
_SUPPRESSED: Final = text("SELECT count(*) FROM entering JOIN suppression USING (address_hash)")
# A reader that another transaction is entering at this moment is waited for, and then known.
_ENTER: Final = text("""
    WITH entered AS (
        INSERT INTO reader (email, address_key, state, timezone, digest_hour, weekdays, paper_limit, cadence, abstracts,
                            plain_text, trending, language, confirmed_at, next_digest_at, last_edition_id)
        SELECT email, address_key, 'active', timezone, digest_hour, weekdays, paper_limit, cadence, abstracts,
               plain_text, trending, language, :now, next_digest_at, :edition
        FROM entering
        WHERE NOT EXISTS (SELECT FROM suppression WHERE suppression.address_hash = entering.address_hash)
        ORDER BY address_key
        ON CONFLICT (address_key) DO NOTHING
        RETURNING id, address_key
    ), placed AS MATERIALIZED (
        SELECT entered.id, interests, address_hash, evidence FROM entered JOIN entering USING (address_key)
    ), interested AS (
        INSERT INTO interest (reader_id, query_id, topic_slug, label, muted, weight, instant)
        SELECT placed.id, query_id, topic_slug, label, muted, weight, instant
        FROM placed JOIN entering_interest USING (interests)
    ), agreed AS (
        INSERT INTO consent_event (reader_id, address_hash, kind, wording, origin)
        SELECT id, address_hash, :kind, :wording || CASE evidence WHEN '' THEN '' ELSE ' — ' || evidence END, :origin
        FROM placed
    )
    SELECT count(*) FROM placed
""")


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator states for a whole list."""

    wording: str
    origin: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk as it is copied in."""

    lines: str
    """A line an entry, in PostgreSQL's text form."""
    entries: int
    sets: Sequence[tuple[TunedWish, ...]]
    """The distinct sets of interests; lines name them by their place."""


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What became of a chunk's entries; the three make up all of them."""

    entered: int
    known: int
    suppressed: int
    """Whose address must not be mailed."""


class Store:
    """Enters chunks; remembers which query is which between them."""

    def __init__(self, settings: Settings, consent: Consent, default: tuple[TunedWish, ...], now: datetime) -> None:
        self._settings = settings
        self._consent = consent
        self._default = default
        self._now = now
        self._queries: dict[str, int] = {}

    def prepared(self, entries: Sequence[Entry]) -> Prepared:
        """What can be done without the database. The addresses of ``entries`` all differ."""
        places: dict[tuple[TunedWish, ...], int] = {}
        lines = []
        for entry in entries:
            address_hash = addresses.hashed(self._settings, entry.address.key)
            when = entry.preferences
            slot = schedule.next_slot(self._now, timezone=when.timezone, hour=when.hour, weekdays=when.weekdays)
            place = places.setdefault(entry.wishes or self._default, len(places))
            lines.append(
                f"{escaped(entry.address.email)}\t{escaped(entry.address.key)}\t\\\\x{address_hash.hex()}\t"
                f"{escaped(when.timezone)}\t{when.hour}\t{when.weekdays}\t"
                f"{when.paper_limit or self._settings.paper_limit}\t{when.cadence}\t{when.abstracts}\t"
                f"{when.plain_text}\t{when.trending}\t{escaped(entry.language)}\t{slot.isoformat()}\t"
                f"{escaped(entry.evidence)}\t{place}\n"
            )
        return Prepared("".join(lines), len(entries), list(places))

    def enter(self, session: Session, chunk: Prepared) -> ChunkReport:
        """Enter a chunk whose queries have been learnt, in the caller's transaction."""
        with raw(session).cursor() as cursor:
            cursor.execute(_STAGE)
            with cursor.copy(
                "COPY entering (email, address_key, address_hash, timezone, digest_hour, weekdays, paper_limit,"
                " cadence, abstracts, plain_text, trending, language, next_digest_at, evidence, interests) FROM STDIN"
            ) as copy:
                copy.write(chunk.lines)
            with cursor.copy(
                "COPY entering_interest (interests, query_id, topic_slug, label, muted, weight, instant) FROM STDIN"
            ) as copy:
                for place, wishes in enumerate(chunk.sets):
                    chosen = by_query([self._queries[wish.query_text] for wish in wishes], wishes)
                    for query_id, wish in chosen.items():
                        copy.write_row(
                            (place, query_id, wish.topic_slug, wish.label, wish.muted, int(wish.weight), wish.instant)
                        )
        values = {
            "now": self._now,
            "edition": accounts.edition_before(session, self._settings, self._now),
            "kind": ConsentKind.ENTERED,
            "wording": self._consent.wording,
            "origin": self._consent.origin,
        }
        suppressed: int = session.execute(_SUPPRESSED).scalar_one()
        entered: int = session.execute(_ENTER, values).scalar_one()
        return ChunkReport(entered, chunk.entries - entered - suppressed, suppressed)

    def block(self, session: Session, blocked: Sequence[Blocked]) -> None:
        """Suppress addresses that another service would not mail."""
        for each in blocked:
            address_hash = addresses.hashed(self._settings, each.address.key)
            suppression.add(session, address_hash, reason=each.reason, detail=each.detail)

    def learn(self, session: Session, chunk: Prepared) -> None:
        """Store the queries of a chunk that are not known yet, in the caller's transaction.

        Rolled back, it has to be forgotten: ids of queries drawn in it mean nothing.
        """
        unknown = sorted({wish.query_text for wishes in chunk.sets for wish in wishes} - self._queries.keys())
        ids = queries.store_many(session, [language.parse(each) for each in unknown])
        self._queries.update(zip(unknown, ids, strict=True))

    def forget(self) -> None:
        """Forget what :meth:`learn` learnt."""
        self._queries.clear()
