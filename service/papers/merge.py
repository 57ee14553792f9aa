"""One paper out of what several sources say of it: the richest fields stay, counts are refreshed."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, delete, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from service.database.tables import (
    Feedback,
    IdentityMeans,
    Mark,
    Paper,
    PaperAlias,
    PaperIdentifier,
    PaperVersion,
    Sighting,
)
from service.papers.record import PaperRecord
from service.papers.text import readable_key


def made(record: PaperRecord, key: str, now: datetime) -> Paper:
    """A new paper; ``key`` is the key of its title."""
    return Paper(
        title=record.title,
        abstract=record.abstract,
        tldr=record.tldr,
        authors=list(record.authors),
        author_count=max(record.author_count, len(record.authors)),
        organization=record.organization,
        categories=list(record.categories),
        keywords=list(record.keywords),
        published_on=record.published_on,
        listed_on=record.listed_on or now.date(),
        featured_on=record.featured_on,
        featured_at=now if record.featured_on is not None else None,
        upvotes=record.upvotes,
        comments=record.comments,
        url=record.url,
        pdf_url=record.pdf_url,
        code_url=record.code_url,
        project_url=record.project_url,
        withdrawn=record.withdrawn,
        version=record.version,
        original_title=record.original_title,
        original_abstract=record.original_abstract,
        title_key=key,
        first_seen_at=now,
        updated_at=now,
    )


def into(paper: Paper, record: PaperRecord, now: datetime) -> bool:
    """Enrich a stored paper by what another row says; return whether anything changed. Its edition stays.

    A newer version's title, abstract and authors replace the older's; an older version's never come back. Of rows
    that name no version, or the same, longer text replaces shorter (sources shorten, they do not invent). What is
    missing is filled in; counts, TL;DR, code link and organization take the newer word; the day it is listed under and
    its first publication stay the earliest known.
    """
    newer = record.version is not None and paper.version is not None and record.version > paper.version
    older = record.version is not None and paper.version is not None and record.version < paper.version
    abstract = record.abstract if not older and (newer or len(record.abstract) > len(paper.abstract)) else ""
    authors = not older and (newer or len(record.authors) > len(paper.authors))
    merged: dict[str, object] = {
        "tldr": record.tldr or paper.tldr,
        "authors": list(record.authors) if authors and record.authors else paper.authors,
        "author_count": max(paper.author_count, record.author_count, len(record.authors)),
        "organization": record.organization or paper.organization,
        "categories": _joined(paper.categories, record.categories),
        "keywords": _joined(paper.keywords, record.keywords),
        "published_on": _earliest(paper.published_on, record.published_on),
        "listed_on": _earliest(paper.listed_on, record.listed_on),
        "featured_on": _earliest(paper.featured_on, record.featured_on),
        "upvotes": paper.upvotes if record.upvotes is None else record.upvotes,
        "comments": paper.comments if record.comments is None else record.comments,
        "url": paper.url or record.url,
        "pdf_url": paper.pdf_url or record.pdf_url,
        "code_url": record.code_url or paper.code_url,
        "project_url": record.project_url or paper.project_url,
        "withdrawn": paper.withdrawn or record.withdrawn,
        "version": max((each for each in (paper.version, record.version) if each is not None), default=None),
    }
    if newer and record.title != paper.title:
        merged |= {
            "title": record.title,
            "title_key": readable_key(record.title),
            "original_title": record.original_title,
        }
    if abstract and abstract != paper.abstract:
        merged |= {"abstract": abstract, "original_abstract": record.original_abstract}
    if paper.featured_on is None and record.featured_on is not None:
        merged["featured_at"] = now
    # Deferred columns among these are written without being read: they change only with the text they belong to.
    changed = {
        name: value
        for name, value in merged.items()
        if name in ("original_title", "original_abstract") or getattr(paper, name) != value
    }
    for name, value in changed.items():
        setattr(paper, name, value)
    if changed:
        paper.updated_at = now
    return bool(changed)


def as_record(paper: Paper, source: str) -> PaperRecord:
    """What a stored paper says, as if a source had said it: so that one paper can be merged into another."""
    return PaperRecord(
        source=source,
        title=paper.title,
        abstract=paper.abstract,
        tldr=paper.tldr,
        authors=tuple(paper.authors),
        author_count=paper.author_count,
        organization=paper.organization,
        categories=tuple(paper.categories),
        keywords=tuple(paper.keywords),
        published_on=paper.published_on,
        listed_on=paper.listed_on,
        featured_on=paper.featured_on,
        upvotes=paper.upvotes,
        comments=paper.comments,
        url=paper.url,
        pdf_url=paper.pdf_url,
        code_url=paper.code_url,
        project_url=paper.project_url,
        withdrawn=paper.withdrawn,
        version=paper.version,
        original_title=paper.original_title,
        original_abstract=paper.original_abstract,
    )


def unite(
    session: Session,
    one: Paper,
    other: Paper,
    *,
    because: str,
    now: datetime,
    means: IdentityMeans = IdentityMeans.BESIDE,
    confidence: float = 1.0,
) -> Paper:
    """Make one of two stored papers that a row has shown to be one; return the survivor, the other is gone.

    The paper of the older edition survives (papers in no edition yet are the youngest; then the lower id). In the
    caller's transaction, which holds the turn of ingests and cutters:

    1. the survivor takes the richer fields of both; its highest count and latest words stand as in any merge;
    2. identifiers, sightings, versions, readers' feedback and marks of the other move to it;
    3. the other leaves its edition's matches: readers of the older edition have had the paper;
    4. an alias keeps the other's id leading to the survivor, and earlier aliases of it are led on;
    5. the other's row is deleted.

    Killed between two of these: none of them happened.
    """
    survivor, lost = sorted((one, other), key=lambda each: (each.edition_id or _NEVER, each.id))
    upvotes, comments = (
        max((each for each in pair if each is not None), default=None)
        for pair in ((one.upvotes, other.upvotes), (one.comments, other.comments))
    )
    known = [each for each in (one.featured_at, other.featured_at) if each is not None]
    first_seen_at = min(survivor.first_seen_at, lost.first_seen_at)
    into(survivor, as_record(lost, ""), now)
    survivor.upvotes, survivor.comments, survivor.first_seen_at = upvotes, comments, first_seen_at
    survivor.featured_at = min(known) if known else None
    survivor.updated_at = now
    session.flush()
    _move(session, lost.id, survivor.id)
    if lost.edition_id is not None:
        session.execute(text(_UNMATCH), {"edition": lost.edition_id, "paper": lost.id})
    session.execute(update(PaperAlias).where(PaperAlias.paper_id == lost.id).values(paper_id=survivor.id))
    session.execute(
        insert(PaperAlias).values(
            id=lost.id,
            paper_id=survivor.id,
            edition_id=lost.edition_id,
            title=lost.title,
            means=means,
            confidence=confidence,
            because=because,
            merged_at=now,
        )
    )
    session.expunge(lost)
    session.execute(delete(Paper).where(Paper.id == lost.id).execution_options(synchronize_session=False))
    return survivor


def _move(session: Session, old: int, new: int) -> None:
    """What belongs to the paper ``old`` belongs to ``new``; what both have stays as it is."""
    session.execute(update(PaperIdentifier).where(PaperIdentifier.paper_id == old).values(paper_id=new))
    for table, columns in (
        (Sighting, (Sighting.source, Sighting.listed_on, Sighting.seen_at)),
        (Feedback, (Feedback.reader_id, Feedback.liked, Feedback.at)),
        (Mark, (Mark.reader_id, Mark.read_at, Mark.saved_at)),
        (
            PaperVersion,
            (PaperVersion.scheme, PaperVersion.version, PaperVersion.source, PaperVersion.listed_on,
             PaperVersion.title, PaperVersion.seen_at),
        ),
    ):  # fmt: skip
        moved = select(literal(new, BigInteger), *columns).where(table.paper_id == old)
        names = ["paper_id", *(column.key for column in columns)]
        session.execute(upsert(table).from_select(names, moved).on_conflict_do_nothing())


_NEVER = 2**31

_UNMATCH = """
    UPDATE match SET
        places = places[1 : array_position(paper_ids, :paper) - 1]
              || places[array_position(paper_ids, :paper) + 1 : cardinality(places)],
        paper_ids = array_remove(paper_ids, :paper)
    WHERE edition_id = :edition AND :paper = ANY(paper_ids)
"""
"""Places stand in the order of the papers. Reads the primary key of ``match``."""


def _joined(first: list[str], second: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _earliest(first: date | None, second: date | None) -> date | None:
    known = [day for day in (first, second) if day is not None]
    return min(known) if known else None
