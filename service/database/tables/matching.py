"""Queries, topics, and what each query matched in each edition."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import Base


class Query(Base):
    """One canonical expression of the query language; stored once, however many readers follow it."""

    __tablename__ = "query"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    canonical: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of ``canonical``: a B-tree cannot hold the text of a long query."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Topic(Base):
    """A named query of the catalogue: the file's word with the operators' on top, followed at every start and edit."""

    __tablename__ = "topic"

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    group_name: Mapped[str]
    position: Mapped[int]
    query_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("query.id"), index=True)
    retired: Mapped[bool] = mapped_column(server_default="false")
    """No longer in the catalogue: nobody new can choose it, its followers keep it."""


class TopicEdit(Base):
    """What an operator says a topic is, whatever this or a later version's file says (subscribers/topics/edits.py)."""

    __tablename__ = "topic_edit"

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    group_name: Mapped[str]
    query: Mapped[str]
    """As typed."""
    retired: Mapped[bool] = mapped_column(server_default="false")
    over: Mapped[bytes | None]
    """Hash of what the file said of the topic at that time; null where it said nothing."""
    edited_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Match(Base):
    """The papers of one edition that one query matches, computed once. A row with empty arrays says: none."""

    __tablename__ = "match"

    edition_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """No foreign key: a hundred thousand rows are copied in at a time, and an edition never goes."""
    query_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    paper_ids: Mapped[list[int]]
    """Ascending."""
    places: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger()))
    """Same length and order as ``paper_ids``: where in each paper it was found (``service.matching.places.Place``)."""
