from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import Edition, IngestProblem, Paper, PaperIdentifier, Sighting
from service.papers import archive, editions, ingest, samples, sources, taxonomy
from service.papers.identity import ARXIV, DOI, TITLE
from service.papers.record import Identifier, PaperRecord, Problem, Row, SourceError
from service.papers.text import title_key
from tests.factories import TODAY, Listed, record


def take(database: Database, *rows: PaperRecord | Problem, name: str = "arxiv") -> ingest.IngestReport:
    return ingest.ingest(database, Listed(*rows, name=name), TODAY)


def papers(database: Database) -> list[Paper]:
    with database.transaction() as session:
        return list(session.scalars(select(Paper).order_by(Paper.id)))


def test_the_same_row_again_is_not_new(database: Database) -> None:
    row = record()
    assert (take(database, row).new, take(database, row).new) == (1, 0)
    assert take(database, row).unchanged == 1
    assert take(database, row, row).seen == 2
    assert len(papers(database)) == 1


def test_one_paper_from_two_sources_is_one_with_the_richest_fields_and_two_sightings(database: Database) -> None:
    feed = record("A Paper", abstract="A long abstract with all its words.", authors=("A", "B"), author_count=2)
    daily = record(
        "A Paper", source="huggingface", identifiers=feed.identifiers, abstract="Short.", authors=(), author_count=0,
        categories=(), upvotes=12, tldr="In short.", organization="Org", listed_on=TODAY - timedelta(days=1),
    )  # fmt: skip
    take(database, feed)
    report = take(database, daily, name="huggingface")
    assert (report.new, report.updated) == (0, 1)
    (paper,) = papers(database)
    assert paper.abstract == "A long abstract with all its words."
    assert (paper.authors, paper.upvotes, paper.tldr, paper.organization) == (["A", "B"], 12, "In short.", "Org")
    assert paper.listed_on == TODAY - timedelta(days=1)
    with database.transaction() as session:
        assert set(session.scalars(select(Sighting.source))) == {"arxiv", "huggingface"}


def test_rows_of_one_batch_that_speak_of_one_paper_are_one(database: Database) -> None:
    row = record("A Paper of Several Names", identifiers=(Identifier(ARXIV, "2601.00001"), Identifier(DOI, "10.1/x")))
    other = record("Another Printing", identifiers=(Identifier(DOI, "10.1/x"),), upvotes=3)
    assert take(database, row, other).new == 1
    assert papers(database)[0].upvotes == 3


def test_a_row_known_by_title_only_is_adopted_by_the_arxiv_row_of_that_title(database: Database) -> None:
    title = "A Title That Is Long Enough to Be Telling"
    page = record(title, source="huggingface", identifiers=(Identifier(TITLE, title_key(title)),), author_count=3)
    take(database, page, name="huggingface")
    later = record(title.upper())
    assert take(database, later).new == 0
    (paper,) = papers(database)
    with database.transaction() as session:
        names = set(archive.identifiers(session, paper.id))
    assert later.identifiers[0] in names
    assert take(database, page, name="huggingface").new == 0


def test_two_arxiv_ids_are_two_papers_whatever_their_title(database: Database) -> None:
    title = "A Title That Is Long Enough to Be Telling"
    assert take(database, record(title), record(title)).new == 2
    assert take(database, record(title)).new == 1


def test_short_titles_join_only_when_the_abstracts_begin_alike(database: Database) -> None:
    abstract = "The very same beginning of an abstract, at some length, so that nobody doubts that it is the same work."
    by_title = (Identifier(TITLE, title_key("Quantization")),)
    take(database, record("Quantization", identifiers=by_title, abstract=abstract))
    assert take(database, record("Quantization", abstract="Something else altogether.")).new == 1
    assert take(database, record("Quantization", abstract=abstract)).new == 0


def test_a_problem_costs_its_row_is_counted_told_and_kept(database: Database) -> None:
    report = take(database, record(), Problem("row 2", "has no title"), record())
    assert (report.seen, report.new, report.rejected) == (3, 2, 1)
    assert report.problems == (Problem("row 2", "has no title"),)
    with database.transaction() as session:
        assert session.scalars(select(IngestProblem.problem)).all() == ["has no title"]
    later = datetime.now(UTC) + timedelta(days=40)
    assert ingest.prune(database, now=later) == 1


class BreaksOff:
    name = "arxiv"
    origin = "a source that breaks off"

    def fetch(self, since: date) -> Iterator[Row]:
        assert since == TODAY
        for _ in range(700):
            yield record()
        raise SourceError("the line went dead")


def test_a_source_that_breaks_off_keeps_what_came_before(database: Database) -> None:
    report = ingest.ingest(database, BreaksOff(), TODAY)
    assert (report.new, report.error) == (700, "the line went dead")


class Dies(BreaksOff):
    def fetch(self, since: date) -> Iterator[Row]:
        yield from (record() for _ in range(600 if since == TODAY else 0))
        raise KeyboardInterrupt


def test_a_crash_keeps_whole_batches_and_the_next_reading_completes_them(database: Database) -> None:
    with pytest.raises(KeyboardInterrupt):
        ingest.ingest(database, Dies(), TODAY)
    assert len(papers(database)) == 500


def test_two_sources_announcing_a_paper_at_the_same_time_make_one(database: Database) -> None:
    rows = [record() for _ in range(50)]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: take(database, *rows), range(4)))
    assert sum(report.new for report in reports) == 50
    assert len(papers(database)) == 50


def test_text_that_postgresql_cannot_hold_never_reaches_it(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl"
    path.write_bytes(b'{"title": "Nul \\u0000 byte", "abstract": "lone \\ud800 surrogate"}\n{"title": "Good"}\n')
    report = ingest.ingest(database, sources.from_file(path), TODAY)
    assert report.new >= 1
    assert report.error is None


# ---- editions --------------------------------------------------------------------------------------------------------


def test_an_edition_holds_what_arrived_since_the_one_before_and_never_changes(database: Database) -> None:
    assert editions.cut(database) is None
    first = record("A First Paper in an Edition")
    take(database, first)
    assert editions.cut(database) == editions.CutEdition(1, 1)
    assert editions.cut(database) is None
    take(database, record(), record(identifiers=first.identifiers, upvotes=9))
    assert editions.cut(database) == editions.CutEdition(2, 1)
    assert [paper.edition_id for paper in papers(database)] == [1, 2]


def test_cutters_at_once_never_share_a_paper_or_a_number(database: Database) -> None:
    take(database, *(record() for _ in range(300)))
    with ThreadPoolExecutor(6) as pool:
        cuts = [cut for cut in pool.map(lambda _: editions.cut(database), range(6)) if cut]
    assert sum(cut.paper_count for cut in cuts) == 300
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Edition)).one() == len(cuts)


# ---- reading back ----------------------------------------------------------------------------------------------------


def test_bylines_name_people_then_the_organization_then_a_number(database: Database) -> None:
    def byline(**fields: object) -> str:
        take(database, record(**fields))  # type: ignore[arg-type]  # fields of the record
        return archive.view(papers(database)[-1]).byline

    assert byline(authors=("A",), author_count=1) == "A"
    assert byline(authors=("A", "B", "C"), author_count=3) == "A, B and C"
    assert byline(authors=("A", "B", "C", "D"), author_count=9) == "A, B and 7 more"
    assert byline(authors=(), author_count=8, organization="Org") == "Org"
    assert byline(authors=(), author_count=8) == "8 authors"
    assert byline(authors=(), author_count=0) == ""


def test_a_day_lists_featured_papers_first_by_upvotes(database: Database) -> None:
    take(
        database,
        record("Plain"),
        record("Liked", featured_on=TODAY, upvotes=3),
        record("Loved", featured_on=TODAY, upvotes=30),
    )
    with database.transaction() as session:
        assert [paper.title for paper in archive.of_day(session, TODAY)] == ["Loved", "Liked", "Plain"]
        assert archive.days(session) == [archive.DayCount(TODAY, 3)]
        assert archive.by_identifier(session, ARXIV, "nothing") is None


# ---- samples and real input ------------------------------------------------------------------------------------------


def test_samples_are_many_current_and_marked(database: Database) -> None:
    report = ingest.ingest(database, samples.SampleSource(), TODAY)
    assert report.new == report.seen >= 40
    for paper in papers(database):
        assert paper.abstract.endswith("(Sample paper, invented for Paperround.)")
        assert all(author.startswith("Sample Author") for author in paper.authors)
        assert TODAY - timedelta(days=3) < paper.listed_on <= datetime.now(UTC).date()


def test_the_taxonomy_is_the_reference(shared_data: Path) -> None:
    import json

    reference = json.loads((shared_data / "arxiv" / "taxonomy.json").read_text())
    assert {each["id"] for each in reference["categories"]} == set(taxonomy.CATEGORIES)
    assert all(taxonomy.canonical(old) == new for old, new in reference["aliases"].items())
    assert taxonomy.canonical("94A29") is None


@pytest.mark.parametrize(
    ("files", "count"),
    [
        (["daily_papers_page.txt"], 88),
        (["huggingface/daily_papers_date_2025-11-27.json", "huggingface/daily_papers_date_2025-11-28.json"], 27),
        (["arxiv/rss_cs.CL_2026-06-30_rendered.xml"], 136),
        (["arxiv/rss_cs.CV_2026-06-24_rendered.xml"], 118),
        (["arxiv_papers.jsonl.gz"], 6_251),
    ],
)
def test_real_input_is_taken_whole_and_once(
    database: Database, shared_data: Path, files: list[str], count: int
) -> None:
    for again in (False, True):
        reports = [ingest.ingest(database, sources.from_file(shared_data / file), TODAY) for file in files]
        assert [report.error for report in reports] == [None] * len(files)
        assert sum(report.seen for report in reports) == count
        assert sum(report.rejected for report in reports) == 0
        assert sum(report.new for report in reports) == (0 if again else count)


def test_the_real_page_tells_date_and_authors_of_78(database: Database, shared_data: Path) -> None:
    report = ingest.ingest(database, sources.from_file(shared_data / "daily_papers_page.txt"), TODAY)
    assert report.complete == 78


def test_of_real_oddities_each_row_is_taken_or_told(database: Database, shared_data: Path) -> None:
    report = ingest.ingest(
        database, sources.from_file(shared_data / "huggingface" / "daily_papers_oddities.json"), TODAY
    )
    assert report.seen == 10
    assert report.new + report.updated + report.unchanged + len(report.problems) == 10
    stored = papers(database)
    assert any(paper.withdrawn for paper in stored)
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(PaperIdentifier)).one() >= len(stored)
