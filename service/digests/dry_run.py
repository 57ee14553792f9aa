"""What a reader got or would get, to be looked at: nothing is written, and no link of it works.

The way is planning's and composing's own (``plan.draft``, ``Composer.shown``). Matches that nobody has computed yet are
computed in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import Abstracts, Cadence, Digest, Edition, Paper, Query, Reader, Topic
from service.digests import plan
from service.digests.candidates import Entries, Interests, Ints, Matches
from service.mails import material
from service.mails.compose import Composer, RenderedMail
from service.mails.material import Draft
from service.matching import expression, stock
from service.matching.edition import EditionIndex
from service.settings import Settings
from service.subscribers import schedule
from service.subscribers.interests import UnknownTopic
from service.subscribers.tokens import Links, Purpose


class NothingToShow(Exception):
    """There is no such digest, or it would be empty. One line: the thing and the remedy."""


class InertLinks(Links):
    """Links that look like the reader's and open nothing."""

    def token(self, purpose: Purpose, reader_id: int) -> str:  # noqa: ARG002 (as the real one's)
        return "preview"


@dataclass(frozen=True, slots=True)
class Shown:
    """A digest to look at."""

    mail: RenderedMail
    language: str
    plain_text: bool
    """The reader gets the text alone."""
    slot: datetime
    digest_id: int | None
    """None where it is only what would be sent."""


class DryRun:
    """Looks at digests on one database. Make one for each look: papers and matches are read once."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._composer = Composer(settings, InertLinks(settings))
        self._matches = _UnwrittenMatches(database)

    def stored(self, digest_id: int) -> Shown:
        """A digest as it was planned. Raises :class:`NothingToShow`."""
        with self._database.transaction() as session:
            digest = session.get(Digest, digest_id)
            reader = session.get(Reader, digest.reader_id) if digest is not None else None
            draft = material.stored(session, [digest_id]).get(digest_id)
            if draft is None or reader is None:
                raise NothingToShow(f"there is no digest {digest_id} any more: it, or its reader, was deleted")
            return self._shown(session, reader, draft)

    def of_day(self, reader_id: int, day: date, *, now: datetime | None = None) -> Shown:
        """What a reader got on a day of their calendar; today, or where it is still to come, what they would get now.

        Raises :class:`NothingToShow`.
        """
        moment = now or datetime.now(UTC)
        with self._database.transaction() as session:
            reader = self._reader(session, reader_id)
            begin = schedule.beginning_of(day, reader.timezone)
            end = schedule.beginning_of(day + timedelta(days=1), reader.timezone)
            # Reads the unique index of (reader, slot) of each month.
            found = session.scalar(
                select(Digest.id)
                .where(Digest.reader_id == reader_id, Digest.slot >= begin, Digest.slot < end)
                .order_by(Digest.slot.desc())
                .limit(1)
            )
        if found is not None:
            return self.stored(found)
        if end <= moment:
            raise NothingToShow(f"reader {reader_id} got no digest on {day}: their story lists those they got")
        return self.now(reader_id, now=moment)

    def now(self, reader_id: int, *, now: datetime | None = None) -> Shown:
        """What a reader would get if they were planned now. Raises :class:`NothingToShow`."""
        moment = now or datetime.now(UTC)
        with self._database.transaction() as session:
            reader = self._reader(session, reader_id)
            draft = plan.draft(session, reader, self._matches, now=moment)
            if draft is None:
                raise NothingToShow(f"nothing new matches for reader {reader_id}: no mail would be sent now")
            return self._shown(session, reader, draft)

    def of_edition(self, reader_id: int, edition_id: int, *, now: datetime | None = None) -> Shown:
        """What one edition brings a reader, by their interests of today. Raises :class:`NothingToShow`."""
        moment = now or datetime.now(UTC)
        with self._database.transaction() as session:
            reader = self._reader(session, reader_id)
            _known(session, edition_id)
            draft = plan.draft(session, reader, self._matches, now=moment, editions=(edition_id, edition_id))
            if draft is None:
                raise NothingToShow(f"nothing of edition {edition_id} matches for reader {reader_id}")
            return self._shown(session, reader, draft)

    def of_topics(self, slugs: Sequence[str], *, edition_id: int | None = None, now: datetime | None = None) -> Shown:
        """What an edition, the newest one if none is named, brings somebody who follows these topics and nothing else.

        Raises :class:`NothingToShow`, :class:`~service.subscribers.interests.UnknownTopic`.
        """
        moment = now or datetime.now(UTC)
        with self._database.transaction() as session:
            topics = dict(
                session.execute(select(Topic.slug, Topic.query_id).where(Topic.slug.in_(slugs), ~Topic.retired)).all()
            )
            unknown = [slug for slug in slugs if slug not in topics]
            if unknown or not topics:
                missing = unknown[0][:64] if unknown else ""
                raise UnknownTopic(f"there is no topic “{missing}”: the list of topics shows them all")
            names: dict[int, str] = dict(
                session.execute(select(Topic.query_id, Topic.name).where(Topic.slug.in_(slugs))).all()
            )
            edition = edition_id or session.scalar(select(func.max(Edition.id))) or 0
            _known(session, edition)
            reader = Reader(
                id=0, email=self._settings.sender_address, timezone="UTC", paper_limit=self._settings.paper_limit,
                language="en", trending=False, cadence=Cadence.DAILY, abstracts=Abstracts.SHORT, plain_text=False,
                last_edition_id=0,
            )  # fmt: skip
            followed = np.unique(np.array(list(names), np.int64))
            draft = plan.draft(
                session, reader, self._matches, now=moment, editions=(edition, edition), wants=_following(followed)
            )
            if draft is None:
                raise NothingToShow(f"nothing of edition {edition} matches these topics")
            return self._shown(session, reader, draft, {(0, query): name for query, name in names.items()})

    def _reader(self, session: Session, reader_id: int) -> Reader:
        reader = session.get(Reader, reader_id)
        if reader is None:
            raise NothingToShow(f"there is no reader {reader_id} any more")
        return reader

    def _shown(
        self, session: Session, reader: Reader, draft: Draft, labels: dict[tuple[int, int], str] | None = None
    ) -> Shown:
        mail = self._composer.shown(session, reader, draft, labels)
        return Shown(mail, reader.language, reader.plain_text, draft.slot, draft.digest_id)


class _UnwrittenMatches(Matches):
    """Computes what is lacking and writes none of it."""

    def of(self, edition_id: int, query_ids: Ints) -> Entries:
        entries = self._entries.get(edition_id)
        if entries is None:
            entries = self._entries[edition_id] = self._fetch(edition_id)
        lacking = np.setdiff1d(query_ids, entries.query)
        if len(lacking):
            entries = self._entries[edition_id] = self._and_those(edition_id, entries, lacking)
        return entries

    def _and_those(self, edition_id: int, entries: Entries, lacking: Ints) -> Entries:
        with self.database.transaction() as session:
            index = EditionIndex(stock.papers(session, Paper.edition_id == edition_id))
            texts = session.execute(select(Query.id, Query.canonical).where(Query.id.in_(lacking.tolist())))
            meant = {query: expression.recall(canonical) for query, canonical in texts}
        found = index.search_all([meant.get(query) for query in lacking.tolist()])
        query = np.concatenate((entries.query, lacking))
        size = np.concatenate((np.diff(entries.start), np.diff(found.start)))
        begin = np.concatenate((entries.start[:-1], found.start[:-1] + entries.start[-1]))
        paper = np.concatenate((entries.paper, np.searchsorted(self.papers(edition_id).id, found.paper_ids)))
        places = np.concatenate((entries.places, found.places.astype(np.uint8)))
        order = np.argsort(query)
        start = np.concatenate((np.zeros(1, np.int64), np.cumsum(size[order])))
        at = np.arange(int(start[-1])) + np.repeat(begin[order] - start[:-1], size[order])
        return Entries(query[order], start, paper[at].astype(np.int32), places[at])


def _known(session: Session, edition_id: int) -> None:
    if session.get(Edition, edition_id) is None:
        raise NothingToShow(f"there is no edition {edition_id}: papers that arrived make the next one within the hour")


def _following(query_ids: Ints) -> Interests:
    """The interests of one reader who follows these queries, which ascend."""
    count = len(query_ids)
    return Interests(
        reader=np.zeros(count, np.int64),
        query=query_ids,
        muted=np.zeros(count, np.bool_),
        weight=np.zeros(count, np.int64),
        first=np.array([0, count], np.int64),
    )
