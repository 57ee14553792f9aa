"""One work, one paper: names, versions, the last resort, and two papers that turn out to be one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from service.database import Database
from service.database.tables import (
    IdentityMeans,
    Match,
    Paper,
    PaperAlias,
    PaperIdentifier,
    Query,
    Sighting,
)
from service.papers import archive, editions, identity, ingest, merge
from service.papers.identity import ARXIV, DOI, TITLE, arxiv_version
from service.papers.record import Identifier, PaperRecord
from service.papers.text import title_key
from tests.factories import TODAY, Listed, record

TITLED = "A Title That Is Long Enough to Be Telling"
ABSTRACT = "The very same beginning of an abstract, at some length, so that nobody doubts that it is the same work."


def take(database: Database, *rows: PaperRecord, name: str = "arxiv") -> ingest.IngestReport:
    return ingest.ingest(database, Listed(*rows, name=name), TODAY)


def papers(database: Database) -> list[Paper]:
    with database.transaction() as session:
        return list(session.scalars(select(Paper).order_by(Paper.id)))


def arxiv(value: str) -> Identifier:
    return Identifier(ARXIV, value)


def doi(value: str) -> Identifier:
    return Identifier(DOI, value)


# ---- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("2606.28354v3", 3),
        ("https://arxiv.org/abs/hep-th/9901001v12", 12),
        ("oai:arXiv.org:2606.28354", None),
        ("2606.28354v0", None),
        ("nothing", None),
    ],
)
def test_the_version_is_read_from_any_spelling(written: str, version: int | None) -> None:
    assert arxiv_version(written) == version


def test_the_newest_version_speaks_whatever_the_order_and_all_are_remembered(database: Database) -> None:
    for number, order in enumerate(permutations((1, 2, 3)), 1):
        names = (arxiv(f"2601.{number:05d}"),)
        for version in order:
            words = f"Version {version}. " + "More words. " * (4 - version)
            row = record(f"Title in Version {version}", identifiers=names, abstract=words, version=version)
            assert take(database, row).new == (1 if version == order[0] else 0)
        paper = papers(database)[-1]
        assert (paper.title, paper.version) == ("Title in Version 3", 3)
        assert paper.abstract.startswith("Version 3.")
        with database.transaction() as session:
            told = archive.versions(session, paper.id)
        assert [(each.version, each.title) for each in told] == [(n, f"Title in Version {n}") for n in (3, 2, 1)]


def test_a_row_without_a_version_enriches_the_newest_but_does_not_rename_it(database: Database) -> None:
    names = (arxiv("2601.00001"),)
    take(database, record("Second Title", identifiers=names, version=2))
    take(database, record("First Title", identifiers=names, tldr="In short."))
    (paper,) = papers(database)
    assert (paper.title, paper.tldr, paper.version) == ("Second Title", "In short.", 2)


def test_the_original_is_kept_with_the_text_it_belongs_to(database: Database) -> None:
    names = (arxiv("2601.00001"),)
    row = record("O(n²)", identifiers=names, original_title="$O(n^2)$", abstract="Short.", original_abstract="S{h}ort.")
    take(database, row)
    take(database, record("Other", identifiers=names, abstract="Longer, and plain."))
    with database.transaction() as session:
        paper = session.scalars(select(Paper)).one()
        assert (paper.original_title, paper.abstract, paper.original_abstract) == (
            "$O(n^2)$", "Longer, and plain.", None,
        )  # fmt: skip


# ---- the last resort -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "abstracts", "authors", "named", "confidence"),
    [
        (TITLED, (ABSTRACT, ABSTRACT + " More."), (["Ada Low"], ["Low, A."]), False, 0.99),
        (TITLED, (ABSTRACT, ABSTRACT), ([], ["Ada Low"]), False, 0.95),
        (TITLED, (ABSTRACT, ABSTRACT), (["Ada Low"], ["Bo High"]), False, 0.9),
        (TITLED, ("", ABSTRACT), (["Ada Löw", "B C"], ["A. Low"]), False, 0.95),
        (TITLED, ("", ""), ([], []), False, 0.8),
        (TITLED, ("", ""), (["Ada Low"], ["Bo High"]), False, None),
        ("Editorial", ("", ""), (["Ada Low"], ["Ada Low"]), False, 0.85),
        ("Editorial", (ABSTRACT, "Quite another text, of next year."), (["A"], ["A"]), False, None),
        ("Editorial", ("", ABSTRACT), ([], []), False, None),
        ("Editorial", ("", ABSTRACT), ([], []), True, 0.6),
        ("Editorial", ("", ""), (["Ada Low"], ["Bo High"]), True, None),
    ],
)  # fmt: skip
def test_likeness_is_graded_by_what_agrees(
    title: str,
    abstracts: tuple[str, str],
    authors: tuple[list[str], list[str]],
    named: bool,
    confidence: float | None,
) -> None:
    assert identity.likeness(title_key(title), abstracts, authors, named=named) == confidence


_PEOPLE = st.lists(st.sampled_from(["Ada Low", "Bo High", "Cy Mid", "Low, A.", ""]), max_size=4)
_WORDS = st.sampled_from(["", "Short.", ABSTRACT, ABSTRACT + " And more.", "Another text altogether. " * 5])


@given(st.sampled_from(["", title_key(TITLED), "editorial"]), _WORDS, _WORDS, _PEOPLE, _PEOPLE, st.booleans())
def test_likeness_does_not_depend_on_who_came_first(
    key: str, one: str, other: str, ours: list[str], theirs: list[str], named: bool
) -> None:
    there = identity.likeness(key, (one, other), (ours, theirs), named=named)
    back = identity.likeness(key, (other, one), (theirs, ours), named=named)
    assert there == back
    assert there is None or 0.5 < there < 1


def test_each_name_says_how_and_how_surely_it_came_to_its_paper(database: Database) -> None:
    take(database, record(TITLED, identifiers=(doi("10.1101/1"),), authors=("Ada Low",), abstract=ABSTRACT))
    take(database, record(TITLED, identifiers=(arxiv("2601.00001"),), authors=("Low, Ada",), abstract=ABSTRACT))
    take(database, record(TITLED, identifiers=(arxiv("2601.00001"), Identifier("hub", "x"))), name="hub")
    (paper,) = papers(database)
    with database.transaction() as session:
        names = {
            name.scheme: (name.means, round(name.confidence, 2), name.paper_id)
            for name in session.scalars(select(PaperIdentifier))
        }
    assert names == {
        DOI: (IdentityMeans.STATED, 1.0, paper.id),
        ARXIV: (IdentityMeans.TITLE, 0.99, paper.id),
        "hub": (IdentityMeans.BESIDE, 1.0, paper.id),
    }


def test_the_same_title_by_other_people_is_another_paper(database: Database) -> None:
    take(database, record(TITLED, identifiers=(doi("10.1/1"),), authors=("Ada Low",)))
    assert take(database, record(TITLED, authors=("Bo High",))).new == 1


def test_two_ids_of_one_source_are_two_papers_whatever_their_title(database: Database) -> None:
    rows = [record(TITLED, identifiers=(Identifier("hub", each),), abstract=ABSTRACT) for each in ("x", "y")]
    assert take(database, *rows, name="hub").new == 2
    assert take(database, *rows, name="hub").new == 0


def test_a_row_takes_in_every_nameless_paper_of_its_title_but_those_told_apart(database: Database) -> None:
    """However many saved pages and feeds told of a work under a title that the server gives it only later."""
    names = (arxiv("2601.00001"),)
    take(database, record("An Early Title", identifiers=names, version=1, abstract=ABSTRACT))
    take(database, record(TITLED, identifiers=(Identifier("hub", "x"),), abstract=ABSTRACT), name="hub")
    take(database, record(TITLED, identifiers=(doi("10.1/other"),), authors=("Bo High",), abstract=""))
    take(database, record(TITLED, identifiers=names, version=2, abstract=ABSTRACT))
    first, other = papers(database)
    assert (first.title, first.version) == (TITLED, 2)
    assert other.authors == ["Bo High"]
    with database.transaction() as session:
        alias = session.scalars(select(PaperAlias)).one()
        assert {name.scheme for name in archive.identifiers(session, first.id)} == {ARXIV, "hub"}
    assert (alias.means, round(alias.confidence, 2)) == (IdentityMeans.TITLE, 0.99)


def test_a_volumes_doi_does_not_make_two_arxiv_papers_one(database: Database) -> None:
    rows = [record(identifiers=(arxiv(f"2601.0000{n}"), doi("10.1/volume"))) for n in (1, 2)]
    assert take(database, *rows).new == 2
    assert take(database, *rows).new == 0
    assert len(papers(database)) == 2


def test_counts_links_and_organization_are_refreshed_without_making_a_paper_new(database: Database) -> None:
    names = (arxiv("2601.00001"),)
    take(database, record(identifiers=names, upvotes=1, organization="Old Name", code_url="https://a.example/1"))
    editions.cut(database)
    later = record(identifiers=names, upvotes=9, comments=2, tldr="In short.", organization="New Name",
                   code_url="https://a.example/2")  # fmt: skip
    assert take(database, later, name="huggingface").new == 0
    (paper,) = papers(database)
    assert (paper.upvotes, paper.comments, paper.tldr) == (9, 2, "In short.")
    assert (paper.organization, paper.code_url) == ("New Name", "https://a.example/2")
    assert editions.cut(database) is None


# ---- two papers that turn out to be one ------------------------------------------------------------------------------


def two_papers(database: Database, *, cut_between: bool) -> tuple[Paper, Paper]:
    first = record("Known by Its DOI", identifiers=(doi("10.1/x"),), abstract="Short.", upvotes=3, tldr="In short.")
    second = record("Known by Its arXiv Id", identifiers=(arxiv("2601.00001"),), abstract="A longer abstract.",
                    listed_on=TODAY - timedelta(days=2), upvotes=1, version=2)  # fmt: skip
    take(database, first)
    if cut_between:
        editions.cut(database)
    take(database, second, name="hub")
    one, other = papers(database)
    return one, other


BOTH = record("Known by Both", identifiers=(arxiv("2601.00001"), doi("10.1/x")), abstract="")


def test_a_row_that_bears_both_names_unites_their_papers_with_the_richest_of_both(database: Database) -> None:
    one, other = two_papers(database, cut_between=True)
    editions.cut(database)
    report = take(database, BOTH)
    assert (report.new, report.updated) == (0, 1)
    (paper,) = papers(database)
    assert (paper.id, paper.edition_id) == (one.id, 1)
    assert (paper.abstract, paper.tldr, paper.upvotes, paper.version) == ("A longer abstract.", "In short.", 3, 2)
    assert paper.listed_on == other.listed_on
    with database.transaction() as session:
        assert {name.value for name in archive.identifiers(session, paper.id)} == {"10.1/x", "2601.00001"}
        assert [each.version for each in archive.versions(session, paper.id)] == [2]
        assert set(session.scalars(select(Sighting.source))) == {"arxiv"}
        assert archive.survivor(session, other.id) == one.id
        assert archive.by_ids(session, [one.id, other.id])[other.id].id == one.id
        alias = session.scalars(select(PaperAlias)).one()
    assert (alias.edition_id, alias.title, alias.confidence) == (2, "Known by Its arXiv Id", 1.0)
    assert alias.because == "a row of arxiv names both: arxiv:2601.00001, doi:10.1/x"
    assert take(database, BOTH).new == 0


@pytest.mark.parametrize("younger_first", [False, True])
def test_the_paper_of_the_older_edition_survives(database: Database, younger_first: bool) -> None:
    one, other = two_papers(database, cut_between=True)
    with database.transaction() as session:
        pair = [session.get_one(Paper, each.id) for each in (one, other)]
        pair = pair[::-1] if younger_first else pair
        survivor = merge.unite(session, *pair, because="a test", now=one.updated_at)
        assert survivor.id == one.id, "the other is in no edition yet"


def test_aliases_of_a_merged_paper_are_led_on(database: Database) -> None:
    take(database, *(record(identifiers=(Identifier("doi", f"10.1/{n}"),)) for n in (1, 2, 3)))
    take(database, record(identifiers=(doi("10.1/2"), doi("10.1/3"))))
    take(database, record(identifiers=(doi("10.1/1"), doi("10.1/2"))))
    with database.transaction() as session:
        assert {archive.survivor(session, old) for old in (2, 3)} == {1}


def test_a_merged_paper_leaves_the_matches_of_its_edition_and_no_other_paper_does(database: Database) -> None:
    _, other = two_papers(database, cut_between=True)
    take(database, record("A Bystander"))
    editions.cut(database)
    bystander = papers(database)[-1].id
    with database.transaction() as session:
        session.add(Query(id=1, canonical="q", digest=b"q"))
        session.flush()
        session.add(Match(edition_id=2, query_id=1, paper_ids=[bystander, other.id, 77], places=[3, 2, 1]))
    take(database, BOTH)
    with database.transaction() as session:
        match = session.scalars(select(Match)).one()
        assert (match.paper_ids, match.places) == ([bystander, 77], [3, 1])


def test_a_merge_happens_whole_or_not_at_all(database: Database) -> None:
    one, other = two_papers(database, cut_between=True)

    class Killed(Exception):
        pass

    def die() -> None:
        with database.transaction() as session:
            pair = [session.get_one(Paper, each.id) for each in (one, other)]
            merge.unite(session, *pair, because="a test", now=one.updated_at)
            raise Killed

    with pytest.raises(Killed):
        die()
    assert [paper.title for paper in papers(database)] == [one.title, other.title]
    with database.transaction() as session:
        assert archive.survivor(session, other.id) is None
        assert [name.value for name in archive.identifiers(session, other.id)] == ["2601.00001"]


def test_papers_of_one_batch_that_turn_out_to_be_one_are_new_once(database: Database) -> None:
    rows = (record(identifiers=(doi("10.1/x"),)), record(identifiers=(arxiv("2601.00001"),)), BOTH, record())
    assert take(database, *rows).new == 2
    assert take(database, *rows).new == 0
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Paper)).one() == 2


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_three_sources_tell_of_one_work_in_any_order(database: Database, order: tuple[int, ...]) -> None:
    people = ("Ada Low", "Bo High")
    preprint = record(TITLED, identifiers=(doi("10.1101/1"),), authors=people, abstract=ABSTRACT)
    feed = record(TITLED, identifiers=(arxiv("2601.00001"),), authors=people, abstract=ABSTRACT)
    page = record(TITLED, identifiers=(Identifier(TITLE, title_key(TITLED)),), authors=(), abstract=ABSTRACT[:70])
    journal = record("Another Title of the Journal", identifiers=(arxiv("2601.00001"), doi("10.1101/1")), abstract="")
    rows = (preprint, feed, page, journal)
    for number in order:
        take(database, rows[number])
    take(database, *(rows[number] for number in order))
    assert len(papers(database)) == 1


_WORK_NAMES = ("arxiv", "doi a", "doi b", "hub")
_ROWS = st.lists(
    st.tuples(st.integers(1, 2), st.sets(st.sampled_from(_WORK_NAMES), min_size=1), st.integers(0, 2)), max_size=9
)
"""Rows of two works: whose, which of its names, and in which of three readings."""
_example = count(1)


@given(_ROWS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_rows_arrive_there_are_as_many_papers_as_their_names_can_tell_apart(
    database: Database, rows: list[tuple[int, set[str], int]]
) -> None:
    example = next(_example)

    def names(work: int, kinds: set[str]) -> tuple[Identifier, ...]:
        of = {
            "arxiv": arxiv(f"{2000 + example:04d}.{work:05d}"), "doi a": doi(f"10.1/{example}/{work}/a"),
            "doi b": doi(f"10.1/{example}/{work}/b"), "hub": Identifier("hub", f"{example}/{work}"),
        }  # fmt: skip
        return tuple(sorted(of[kind] for kind in kinds))

    before = len(papers(database))
    for reading in range(3):
        take(database, *(record(identifiers=names(work, kinds)) for work, kinds, when in rows if when == reading))
        if reading == 1:
            editions.cut(database)
    # Rows hang together by the names they share.
    groups: list[set[tuple[int, str]]] = []
    for work, kinds, _ in rows:
        group = {(work, kind) for kind in kinds}
        touching = [each for each in groups if each & group]
        groups = [each for each in groups if not each & group] + [group.union(*touching)]
    assert len(papers(database)) - before == len(groups)
    again = [record(identifiers=names(work, kinds)) for work, kinds, _ in rows]
    assert take(database, *again).new == 0


# ---- editions and what comes after -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE edition SET paper_count = 7",
        "UPDATE edition SET cut_at = now()",
        "DELETE FROM edition",
        "UPDATE paper SET edition_id = NULL WHERE edition_id = 1",
        "UPDATE paper SET edition_id = 2 WHERE edition_id = 1",
        "UPDATE paper SET edition_id = 1 WHERE edition_id IS NULL",
    ],
)
def test_the_database_refuses_to_change_an_edition(database: Database, change: str) -> None:
    for _ in range(2):
        take(database, record())
        editions.cut(database)
    take(database, record())
    with pytest.raises(DBAPIError, match=r"immutable|closed"), database.connection() as connection:
        connection.exec_driver_sql(change)
    assert [paper.edition_id for paper in papers(database)] == [1, 2, None]


def test_cutters_and_ingests_and_merges_at_once_leave_every_paper_in_one_edition(database: Database) -> None:
    """Two rows that are united by a third, while others cut: whatever the order, one paper in one edition."""
    works = [
        [record(identifiers=(doi(f"10.1/{n}"),)), record(identifiers=(arxiv(f"2601.{n:05d}"),)),
         record(identifiers=(arxiv(f"2601.{n:05d}"), doi(f"10.1/{n}")))]
        for n in range(30)
    ]  # fmt: skip
    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(take, database, *work[:2]) for work in works]
        reading += [pool.submit(take, database, work[2]) for work in works]
        cutting = [pool.submit(editions.cut, database) for _ in range(20)]
        for each in reading:
            each.result()
        cuts = [cut for each in cutting if (cut := each.result())]
    if last := editions.cut(database):
        cuts.append(last)
    assert [paper.edition_id is not None for paper in papers(database)] == [True] * len(works)
    assert sorted(cut.id for cut in cuts) == list(range(1, len(cuts) + 1))
    with database.transaction() as session:
        merged = session.scalars(select(func.count()).where(PaperAlias.edition_id.is_not(None))).one()
    assert sum(cut.paper_count for cut in cuts) == len(works) + merged


def test_a_paper_featured_after_its_edition_is_told_with_every_id_it_went_by(database: Database) -> None:
    one, other = two_papers(database, cut_between=True)
    take(database, record("Featured from the Start", featured_on=TODAY))
    editions.cut(database)
    take(database, BOTH)
    began = papers(database)[0].updated_at
    featured = record(identifiers=(arxiv("2601.00001"),), featured_on=TODAY, upvotes=40)
    take(database, featured, name="huggingface")
    with database.transaction() as session:
        (found,) = archive.newly_featured(session, began, began + timedelta(hours=1))
        assert (found.paper_id, found.edition_id, found.upvotes) == (one.id, 1, 40)
        assert found.known_as == (one.id, other.id)
        assert archive.newly_featured(session, found.featured_at, began + timedelta(hours=1)) == []
