"""Filing: each record of a batch finds the paper it speaks of, or makes one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Self

from psycopg import sql
from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session, make_transient_to_detached

from service.database.engine import raw
from service.database.tables import IdentityMeans, Paper, PaperIdentifier
from service.papers import identity, merge, turn
from service.papers.identity import ARXIV, DOI, STRONG, TITLE
from service.papers.record import Identifier, PaperRecord
from service.papers.text import readable_key

_ARXIV_ONLY: Final = frozenset({ARXIV})
_LONGEST_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Filed:
    """What a batch came to."""

    new: int
    updated: int


def file(session: Session, records: Sequence[PaperRecord], now: datetime) -> Filed:
    """File a batch in the caller's transaction, which from here on holds the turn of those who write papers.

    A record is its paper's by an arXiv id or DOI; else by a name of its source; else by title and authors or abstract,
    with a confidence that is written beside each name it brings (docs/decisions/010-identity.md). A record that bears
    the names of two papers unites them.
    """
    turn.take(session)
    batch = _Batch.of(session, records, now)
    for record in records:
        batch.put(record)
    batch.write()
    return Filed(batch.new, len(batch.touched))


@dataclass(slots=True)
class _Batch:
    """The papers that a batch may speak of, and what is to be written of them."""

    session: Session
    now: datetime
    papers: dict[Identifier, Paper]
    by_title: dict[str, list[Paper]]
    names_of: dict[int, set[Identifier]]
    """The names but titles of each of those papers, by ``id()``: papers of this batch have no key yet."""
    new: int = 0
    fresh: list[Paper] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    made_here: set[int] = field(default_factory=set)
    names: list[tuple[Paper, Identifier, IdentityMeans, float, str]] = field(default_factory=list)
    sightings: dict[tuple[int, str], tuple[Paper, date]] = field(default_factory=dict)
    versions: list[tuple[Paper, PaperRecord]] = field(default_factory=list)
    lost: list[Paper] = field(default_factory=list)
    """Held, so that no later paper gets the ``id()`` of one of them."""

    @classmethod
    def of(cls, session: Session, records: Sequence[PaperRecord], now: datetime) -> Self:
        papers = _known_papers(session, records)
        by_title = _by_title(session, records)
        everyone = {each.id: each for each in papers.values()}
        everyone |= {each.id: each for alike in by_title.values() for each in alike}
        names_of: dict[int, set[Identifier]] = {id(paper): set() for paper in everyone.values()}
        statement = select(PaperIdentifier.paper_id, PaperIdentifier.scheme, PaperIdentifier.value).where(
            PaperIdentifier.paper_id.in_(everyone), PaperIdentifier.scheme != TITLE
        )
        if everyone:
            for paper_id, scheme, value in session.execute(statement):
                names_of[id(everyone[paper_id])].add(Identifier(scheme, value))
        return cls(session, now, papers, by_title, names_of)

    def put(self, record: PaperRecord) -> None:
        key = readable_key(record.title)
        means, confidence = IdentityMeans.BESIDE, 1.0
        paper = self._named(record, key)
        if paper is None:
            paper, confidence = self._alike(record, key)
            means = IdentityMeans.TITLE
        if paper is None and record.revision:
            return
        if paper is None:
            means, confidence = IdentityMeans.STATED, 1.0
            paper = self._made(record, key)
        elif merge.into(paper, record, self.now) and id(paper) not in self.made_here:
            self.touched.add(id(paper))
        if means is IdentityMeans.BESIDE:
            paper = self._with_nameless(paper, record, key)
        for name in record.identifiers:
            if name not in self.papers:
                self.papers[name] = paper
                self.names.append((paper, name, means, confidence, record.source))
                if name.scheme != TITLE:
                    self.names_of[id(paper)].add(name)
        self.sightings[id(paper), record.source] = (paper, record.listed_on or paper.listed_on)
        if record.version is not None:
            self.versions.append((paper, record))

    def write(self, *, last: bool = True) -> None:
        """Write what has been put so far. ``last``: nothing more is put, so that the papers need no longer be ours.

        New papers and names are copied in; under the turn nobody else can have written them meanwhile.
        """
        self.session.flush()
        if self.fresh:
            numbers = self.session.execute(_NEW_IDS, {"count": len(self.fresh)}).scalars()
            for paper, number in zip(self.fresh, numbers, strict=True):
                paper.id = number
            # What a new paper does not say is left to the column's default.
            said = [column for column in _PAPER_COLUMNS if column in vars(self.fresh[0])]
            _copy(self.session, "paper", said, ([getattr(paper, column) for column in said] for paper in self.fresh))
        if self.fresh and not last:
            for paper in self.fresh:
                make_transient_to_detached(paper)
            self.session.add_all(self.fresh)
        self.fresh.clear()
        names = (
            (name.scheme, name.value, paper.id, means.value, confidence, source, self.now)
            for paper, name, means, confidence, source in self.names
        )
        _copy(self.session, "paper_identifier", _NAME_COLUMNS, names)
        sightings = [
            (paper.id, source, listed_on, self.now) for (_, source), (paper, listed_on) in self.sightings.items()
        ]
        versions = [
            (paper.id, _numbering(record), record.version, record.source, record.listed_on, record.title, self.now)
            for paper, record in self.versions
        ]
        for statement, rows in ((_SIGHTINGS, sightings), (_VERSIONS, versions)):
            if rows:
                columns = [list(column) for column in zip(*rows, strict=True)]
                raw(self.session).execute(statement, columns)
        self.names.clear()
        self.sightings.clear()
        self.versions.clear()

    def _made(self, record: PaperRecord, key: str) -> Paper:
        paper = merge.made(record, key, self.now)
        self.new += 1
        self.fresh.append(paper)
        self.made_here.add(id(paper))
        self.by_title.setdefault(key, []).append(paper)
        self.names_of[id(paper)] = set()
        return paper

    def _named(self, record: PaperRecord, key: str) -> Paper | None:
        """The paper that the names of a record lead to; where they lead to two, these become one."""
        found: Paper | None = None
        # arXiv ids outweigh DOIs (a DOI may be a whole volume's), and both what a source calls it.
        for name in sorted(record.identifiers, key=lambda name: _WEIGHT.get(name.scheme, 2)):
            paper = self.papers.get(name)
            if paper is None or paper is found:
                continue
            if found is not None:
                # Rows known by their title only are judged by more than it, afterwards.
                if name.scheme != TITLE:
                    found = self._united(found, paper, record)
                continue
            if name.scheme == TITLE:
                if self._likeness(paper, record, key, named=True) is not None:
                    found = paper
            elif not identity.contradict(record.identifiers, self.names_of[id(paper)], _ARXIV_ONLY):
                found = paper
        return found

    def _alike(self, record: PaperRecord, key: str) -> tuple[Paper | None, float]:
        """The paper most like a record that no name identifies, and how surely it is the same."""
        best: Paper | None = None
        confidence = 0.0
        for paper in self.by_title.get(key, ()):
            if identity.contradict(record.identifiers, self.names_of[id(paper)]):
                continue
            likeness = self._likeness(paper, record, key)
            if likeness is not None and likeness > confidence:
                best, confidence = paper, likeness
        return best, confidence

    def _likeness(self, paper: Paper, record: PaperRecord, key: str, *, named: bool = False) -> float | None:
        return identity.likeness(key, (paper.abstract, record.abstract), (paper.authors, record.authors), named=named)

    def _with_nameless(self, paper: Paper, record: PaperRecord, key: str) -> Paper:
        """Take in a paper that has no arXiv id and no DOI, and is by title and more what this record speaks of."""
        for alike in list(self.by_title.get(key, ())):
            names = self.names_of[id(alike)]
            # Looked up anew each time: a paper of the list may be gone by now.
            if alike is paper or alike not in self.by_title[key] or any(name.scheme in STRONG for name in names):
                continue
            if identity.contradict(names, self.names_of[id(paper)]):
                continue
            likeness = self._likeness(alike, record, key)
            if likeness is not None:
                because = f"a row of {record.source} with the same title: {record.title}"
                paper = self._one_of(paper, alike, because, IdentityMeans.TITLE, likeness)
        return paper

    def _united(self, one: Paper, other: Paper, record: PaperRecord) -> Paper:
        """Unite two papers that ``record`` names both, unless each has an arXiv id of its own."""
        if identity.contradict(self.names_of[id(one)], self.names_of[id(other)], _ARXIV_ONLY):
            return one
        names = ", ".join(f"{name.scheme}:{name.value}" for name in record.identifiers)
        because = f"a row of {record.source} names both: {names}"
        return self._one_of(one, other, because, IdentityMeans.BESIDE, 1.0)

    def _one_of(self, one: Paper, other: Paper, because: str, means: IdentityMeans, confidence: float) -> Paper:
        # Both must be rows before one can take over what refers to the other.
        self.write(last=False)
        because = because[:_LONGEST_REASON]
        survivor = merge.unite(
            self.session, one, other, because=because, now=self.now, means=means, confidence=confidence
        )
        lost = other if survivor is one else one
        self.papers = {name: survivor if paper is lost else paper for name, paper in self.papers.items()}
        for alike in self.by_title.values():
            alike[:] = dict.fromkeys(survivor if paper is lost else paper for paper in alike)
        self.names_of[id(survivor)] |= self.names_of[id(lost)]
        # Of two papers of this very batch one has never been anybody's.
        self.new -= id(lost) in self.made_here
        self.touched.discard(id(lost))
        if id(survivor) not in self.made_here:
            self.touched.add(id(survivor))
        self.lost.append(lost)
        return survivor


_WEIGHT: Final = {ARXIV: 0, DOI: 1, TITLE: 3}


_NEW_IDS: Final = text(
    "SELECT nextval(pg_get_serial_sequence('paper', 'id')) FROM generate_series(1, CAST(:count AS integer))"
)
_PAPER_COLUMNS: Final = tuple(column.key for column in Paper.__table__.columns)
_NAME_COLUMNS: Final = ("scheme", "value", "paper_id", "means", "confidence", "source", "told_at")
_SIGHTINGS: Final = """
    INSERT INTO sighting (paper_id, source, listed_on, seen_at)
    SELECT * FROM unnest(%s::bigint[], %s::text[], %s::date[], %s::timestamptz[]) ON CONFLICT DO NOTHING
"""
_VERSIONS: Final = """
    INSERT INTO paper_version (paper_id, scheme, version, source, listed_on, title, seen_at)
    SELECT * FROM unnest(
        %s::bigint[], %s::text[], %s::integer[], %s::text[], %s::date[], %s::text[], %s::timestamptz[]
    ) ON CONFLICT DO NOTHING
"""


def _copy(session: Session, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with raw(session).cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _numbering(record: PaperRecord) -> str:
    """Whose version numbers a record's are."""
    return ARXIV if any(name.scheme == ARXIV for name in record.identifiers) else DOI


def _known_papers(session: Session, records: Iterable[PaperRecord]) -> dict[Identifier, Paper]:
    """Reads the primary key of ``paper_identifier``."""
    wanted = {(name.scheme, name.value) for record in records for name in record.identifiers}
    if not wanted:
        return {}
    statement = (
        select(PaperIdentifier.scheme, PaperIdentifier.value, Paper)
        .join(Paper, Paper.id == PaperIdentifier.paper_id)
        .where(tuple_(PaperIdentifier.scheme, PaperIdentifier.value).in_(wanted))
    )
    return {Identifier(scheme, value): paper for scheme, value, paper in session.execute(statement)}


def _by_title(session: Session, records: Iterable[PaperRecord]) -> dict[str, list[Paper]]:
    """Papers that carry the title of a record. Reads ix_paper_title_key."""
    keys = {readable_key(record.title) for record in records}
    found: dict[str, list[Paper]] = {}
    for paper in session.scalars(select(Paper).where(Paper.title_key.in_(keys)).order_by(Paper.id)):
        found.setdefault(paper.title_key, []).append(paper)
    return found
