"""The sources beyond the first: what each reads, what it leaves out, and what it says of its days."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from service import rounds
from service.database import Database
from service.matching.language import SOURCES
from service.papers import ingest, sources
from service.papers.identity import ARXIV, DOI
from service.papers.record import Identifier, PaperRecord, Problem, Row, SourceError
from service.papers.sources import arxiv_api, arxiv_oai, arxiv_rss, biorxiv, feed, folder
from service.settings import Settings, SettingsError
from tests.factories import TODAY, Listed, record
from tests.papers import fault_server

DAY = date(2026, 1, 7)


def records(rows: Iterator[Row]) -> list[PaperRecord]:
    return [row for row in rows if isinstance(row, PaperRecord)]


# ---- OAI-PMH ---------------------------------------------------------------------------------------------------------


def test_a_harvested_record_is_read_whole_and_the_token_is_found() -> None:
    page = arxiv_oai.Page("x")
    body = fault_server.listed(fault_server.oai_record(7, DAY, DAY - timedelta(days=2)), "next")
    (only,) = records(page.read(body))
    assert only.identifiers == (Identifier(ARXIV, "2511.00007"),)
    assert (only.source, only.listed_on, only.published_on) == ("arxiv", DAY, DAY - timedelta(days=2))
    assert only.authors == ("Oai Inventor 7", "Other Inventor")
    assert only.categories == ("cs.LG", "math.OC")
    assert only.version == 1
    assert page.token == "next"


def test_deleted_records_and_edits_of_old_papers_are_no_new_papers() -> None:
    old = fault_server.oai_record(7, DAY, DAY - timedelta(days=400))
    assert list(arxiv_oai.Page("x").read(fault_server.listed(fault_server.DELETED + old))) == []


def test_a_day_without_records_is_empty_and_another_error_is_told() -> None:
    assert list(arxiv_oai.Page("x").read(fault_server.NO_RECORDS)) == []
    with pytest.raises(SourceError, match="badResumptionToken"):
        list(arxiv_oai.Page("x").read(fault_server.oai('<error code="badResumptionToken"/>')))


def test_only_the_wanted_categories_or_archives_are_harvested() -> None:
    body = fault_server.listed(fault_server.oai_record(7, DAY, DAY))
    taken = {
        wanted: len(records(arxiv_oai.Page("x").read(body, frozenset({wanted}))))
        for wanted in ("cs.LG", "math", "cs.CL", "quant-ph")
    }
    assert taken == {"cs.LG": 1, "math": 1, "cs.CL": 0, "quant-ph": 0}


def test_the_real_harvest_sample_is_read(shared_data: Path) -> None:
    body = (shared_data / "arxiv" / "oai_listrecords_arXivRaw_trimmed.xml").read_bytes()
    page = arxiv_oai.Page("x")
    assert list(page.read(body)) == [], "edited in January, first published in October"
    assert page.token == "opaque-token"


# ---- the API ---------------------------------------------------------------------------------------------------------


def test_the_real_answer_of_the_api_is_read(shared_data: Path) -> None:
    (only,) = records(
        arxiv_api.read_answer((shared_data / "arxiv" / "api_query_real_header_2303.08774.xml").read_bytes(), "x")
    )
    assert (only.title, only.authors, only.version) == ("GPT-4 Technical Report", ("OpenAI",), 3)
    assert only.listed_on is None, "it announces nothing"


def test_an_error_entry_of_the_api_is_a_row_that_is_not_taken() -> None:
    body = b"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>http://arxiv.org/api/errors#incorrect_id</id>
    <title>Error</title><summary>incorrect id format for 1</summary></entry></feed>"""
    (problem,) = arxiv_api.read_answer(body, "x")
    assert isinstance(problem, Problem)
    assert "incorrect id format for 1" in problem.problem


def test_only_papers_that_lack_something_are_looked_up(database: Database) -> None:
    ingest.ingest(
        database, Listed(record(), record(categories=(), identifiers=(Identifier(ARXIV, "2601.00001"),))), TODAY
    )
    assert arxiv_api.wanting(database, TODAY) == ["2601.00001"]


# ---- bioRxiv and medRxiv ---------------------------------------------------------------------------------------------


def test_numbers_as_text_are_understood_and_later_versions_left_out() -> None:
    rows = [fault_server.preprint(1, DAY), fault_server.preprint(2, DAY, version=2), {"title": "No DOI"}, 7]
    page = biorxiv.read_page(fault_server.preprints(rows, "57"), "x", "medrxiv")  # type: ignore[arg-type]  # hostile
    assert (page.total, page.listed, [type(row) for row in page.rows]) == (57, 4, [PaperRecord, Problem, Problem])
    first = page.rows[0]
    assert isinstance(first, PaperRecord)
    assert first.identifiers == (Identifier(DOI, "10.1101/2025.11.01.000001"),)
    assert first.authors == ("B. 1 Inventor", "O. Other")
    assert (first.source, first.organization, first.keywords) == ("medrxiv", "Invented Institute", ("cell biology",))


def test_no_posts_found_is_an_empty_day() -> None:
    assert biorxiv.read_page(fault_server.NO_POSTS, "x", "biorxiv").rows == []
    assert biorxiv.read_page(b'{"messages":[{"status":"no posts found"}]}', "x", "biorxiv").total == 0


def test_the_real_preprint_sample_is_read(shared_data: Path) -> None:
    page = biorxiv.read_page((shared_data / "biorxiv" / "details_2025-01-01_trimmed.json").read_bytes(), "x", "biorxiv")
    (only,) = records(iter(page.rows))
    assert only.authors == ("D. D. Gomez Cuautle", "A. R. Rossi")
    assert page.total == 57


# ---- any feed --------------------------------------------------------------------------------------------------------

RSS2 = """<?xml version="1.0"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:prism="http://prismstandard.org/namespaces/basic/2.0/"><channel>{}</channel></rss>"""
RDF = """<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel/>{}</rdf:RDF>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom">{}</feed>"""


@pytest.mark.parametrize(
    ("document", "item", "name", "authors"),
    [
        (RSS2, "<item><title>T</title><link>https://doi.org/10.1000/ABC</link><author>a@x.org (Ada I)</author></item>",
         Identifier(DOI, "10.1000/abc"), ("Ada I",)),
        (RSS2, "<item><title>T</title><prism:doi>10.1000/x</prism:doi><dc:creator>A, B</dc:creator></item>",
         Identifier(DOI, "10.1000/x"), ("A", "B")),
        (RSS2, "<item><title>T</title><link>https://journal.example/7</link></item>",
         Identifier("feed", "https://journal.example/7"), ()),
        (RDF, "<item><title>T</title><link>https://arxiv.org/abs/2601.00001v2</link></item>",
         Identifier(ARXIV, "2601.00001"), ()),
        (ATOM, '<entry><id>tag:x,1</id><title>T</title><link rel="self"/><author><name>A</name></author></entry>',
         Identifier("feed", "tag:x,1"), ("A",)),
    ],
)  # fmt: skip
def test_a_feed_of_any_kind_tells_title_name_and_authors(
    document: str, item: str, name: Identifier, authors: tuple[str, ...]
) -> None:
    (only,) = records(feed.read_feed(document.format(item).encode(), "x"))
    assert (only.source, only.title, only.identifiers, only.authors) == ("feed", "T", (name,), authors)


def test_markup_is_left_out_and_less_than_signs_stay() -> None:
    item = (
        "<item><title>T</title><guid>1</guid><description>&lt;p class='x'&gt;a &lt;b&gt;bold&lt;/b&gt; claim:"
        " p &lt; 0.05 and q &gt; 1&lt;/p&gt;&lt;img src='x'&gt;</description></item>"
    )
    (only,) = records(feed.read_feed(RSS2.format(item).encode(), "x"))
    assert only.abstract == "a bold claim: p < 0.05 and q > 1"


def test_a_feed_in_another_encoding_is_read_as_it_says() -> None:
    body = RSS2.format("<item><title>Größe</title><guid>1</guid></item>").replace(
        '1.0"?', '1.0" encoding="iso-8859-1"?'
    )
    (only,) = records(feed.read_feed(body.encode("latin-1"), "x"))
    assert only.title == "Größe"


# ---- good rows beside anything ---------------------------------------------------------------------------------------

SHAPES: dict[str, tuple[bytes, bytes, bytes, Callable[[bytes], Iterator[PaperRecord | Problem]]]] = {
    "arxiv-rss": (
        b"<rss xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:arxiv='http://arxiv.org/schemas/atom'><channel>",
        fault_server.feed_item(7, DAY, "Good").encode(),
        b"</channel></rss>",
        lambda body: arxiv_rss.read_feed(body, "x"),
    ),
    "feed": (
        b"<rss><channel>",
        b"<item><title>Good</title><guid>7</guid></item>",
        b"</channel></rss>",
        lambda body: feed.read_feed(body, "x"),
    ),
    "oai": (
        b"<OAI-PMH xmlns='http://www.openarchives.org/OAI/2.0/'><ListRecords>",
        fault_server.oai_record(7, DAY, DAY).encode(),
        b"</ListRecords></OAI-PMH>",
        lambda body: arxiv_oai.Page("x").read(body),
    ),
    "api": (
        b"<feed xmlns='http://www.w3.org/2005/Atom'>",
        b"<entry><id>http://arxiv.org/abs/2511.00007v1</id><title>Good</title></entry>",
        b"</feed>",
        lambda body: arxiv_api.read_answer(body, "x"),
    ),
}
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<>&]", exclude_categories=["Cc", "Cs"]), max_size=30)
ELEMENTS = st.recursive(
    WORDS,
    lambda inner: st.builds(
        "<{0}>{1}</{0}>".format,
        st.sampled_from(
            ["title", "guid", "id", "link", "pubDate", "description", "header", "datestamp", "author", "b"]
        ),
        st.lists(inner, max_size=4).map("".join),
    ),
    max_leaves=12,
)
BAD = st.one_of(
    ELEMENTS.map("<item>{}</item>".format),
    ELEMENTS.map("<entry>{}</entry>".format),
    ELEMENTS.map("<record>{}</record>".format),
    ELEMENTS,
)


@pytest.mark.parametrize("shape", SHAPES)
@trials(max_examples=60, deadline=None)
@given(before=st.lists(BAD, max_size=3), after=st.lists(BAD, max_size=3))
def test_a_good_item_survives_any_neighbours(shape: str, before: list[str], after: list[str]) -> None:
    head, good, tail, read = SHAPES[shape]
    alone = records(read(head + good + tail))
    assert len(alone) == 1
    body = head + "".join(before).encode() + good + "".join(after).encode() + tail
    assert alone[0] in records(read(body))


@pytest.mark.parametrize("shape", SHAPES)
@trials(max_examples=60, deadline=None)
@given(at=st.floats(0, 1))
def test_a_document_cut_anywhere_keeps_the_items_before_the_cut_and_invents_none(shape: str, at: float) -> None:
    head, good, tail, read = SHAPES[shape]
    whole = head + good * 4 + tail
    cut = whole[: int(at * len(whole))]
    complete = max(0, min(4, (len(cut) - len(head)) // len(good)))
    rows: list[PaperRecord | Problem] = []
    told = False
    try:
        rows.extend(read(cut))
    except SourceError:
        told = True
    assert complete - 1 <= len(records(iter(rows))) <= complete, "the last may not be known to be whole"
    assert told or shape == "oai" or cut == whole or any(isinstance(row, Problem) for row in rows)


@trials(max_examples=60, deadline=None)
@given(st.lists(st.recursive(st.none() | st.integers() | WORDS, lambda inner: st.lists(inner, max_size=3)), max_size=4),
       st.none() | st.integers() | WORDS)  # fmt: skip
def test_a_good_preprint_survives_any_neighbours_and_any_total(rows: list[Any], total: Any) -> None:
    body = json.dumps({"messages": [{"total": total}], "collection": [*rows, fault_server.preprint(1, DAY)]}).encode()
    page = biorxiv.read_page(body, "x", "biorxiv")
    assert isinstance(page.rows[-1], PaperRecord)
    assert len(page.rows) == len(rows) + 1


@pytest.mark.parametrize("inside", ["x" * 12_000_000, "<a>" * 5_000 + "</a>" * 5_000], ids=["huge", "deep"])
def test_a_huge_or_deep_item_is_cut_down_or_refused_and_breaks_nothing(inside: str) -> None:
    told = ""
    rows: list[PaperRecord | Problem] = []
    try:
        rows.extend(feed.read_feed(RSS2.format(f"<item><title>{inside}</title><guid>1</guid></item>").encode(), "x"))
    except SourceError as error:
        told = str(error)
    assert len(told) < 500
    assert all(len(str(row)) < 50_000 for row in rows)


# ---- the watched folder ----------------------------------------------------------------------------------------------


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "papers"
    path.mkdir()
    return path


def put(inbox: Path, name: str, content: bytes, age: float = 60) -> None:
    path = inbox / name
    path.write_bytes(content)
    os.utime(path, (path.stat().st_mtime - age,) * 2)


def test_files_are_read_then_moved_with_a_note(database: Database, settings: Settings, inbox: Path) -> None:
    put(inbox, "a.jsonl", b'{"title": "An Invented Filed Paper"}\nnot json\n')
    put(inbox, "b.xml", b"<root/>")
    put(inbox, "c.jsonl", b'{"title": "Still Being Written"}', age=0)
    put(inbox, "d.jsonl.part", b'{"title": "Unfinished"}')
    (report,) = rounds.gather(database, settings.model_copy(update={"sources": f"folder:{inbox}"}))
    assert (report.new, report.rejected, report.error) == (1, 2, None)
    assert sorted(path.relative_to(inbox).as_posix() for path in inbox.rglob("*") if path.is_file()) == [
        "c.jsonl", "d.jsonl.part", "done/a.jsonl", "done/a.jsonl.txt", "failed/b.xml", "failed/b.xml.txt",
    ]  # fmt: skip
    assert "2 rows, 1 rejected." in (inbox / "done/a.jsonl.txt").read_text()
    assert "line 2: is not JSON" in (inbox / "done/a.jsonl.txt").read_text()
    assert "is not a feed" in (inbox / "failed/b.xml.txt").read_text()
    put(inbox, "a.jsonl", b'{"title": "Another of the Same Name"}')
    (report,) = rounds.gather(database, settings.model_copy(update={"sources": f"folder:{inbox}"}))
    assert report.new == 1
    assert (inbox / "done/a-2.jsonl").exists()


def test_a_reading_that_is_killed_leaves_the_files_where_they_are(inbox: Path) -> None:
    put(inbox, "a.jsonl", b'{"title": "An Invented Filed Paper"}')
    rows = folder.WatchedFolder(inbox).fetch(TODAY)
    assert len(records(rows)) == 1
    assert (inbox / "a.jsonl").exists()
    assert len(records(folder.WatchedFolder(inbox).fetch(TODAY))) == 1


# ---- registration ----------------------------------------------------------------------------------------------------


def test_sources_are_those_that_the_setting_names_and_enrichment_comes_last(
    database: Database, settings: Settings
) -> None:
    named = "arxiv-api huggingface feed:https://journal.example/rss folder:/tmp/inbox medrxiv huggingface"
    made = sources.configured(settings.model_copy(update={"sources": named}), database)
    assert [source.name for source in made] == [
        "huggingface", "feed:https://journal.example/rss", "folder", "medrxiv", "arxiv-api",
    ]  # fmt: skip
    every = " ".join(name if name != "feed" else "feed:https://journal.example/" for name in sources.REGISTERED)
    assert len(sources.configured(settings.model_copy(update={"sources": every}), database)) == len(sources.REGISTERED)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("arxiv nature", "names “nature”, which is no source: choose from arxiv, "),
        ("feed", "feed needs an address"),
        ("feed:ftp://x", "feed needs an address"),
        ("feed:https://[bad", "feed needs an address"),
        ("arxiv:cs.CL", "arxiv takes nothing after a colon"),
    ],
)
def test_a_source_that_cannot_be_made_is_one_clear_line(
    database: Database, settings: Settings, named: str, said: str
) -> None:
    with pytest.raises(SettingsError, match="PAPERROUND_SOURCES") as caught:
        sources.configured(settings.model_copy(update={"sources": named}), database)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_query_language_knows_every_publication() -> None:
    assert {arxiv_rss.NAME, "huggingface", "file", "sample", feed.NAME, *biorxiv.SERVERS} == set(SOURCES)


def test_a_revision_of_an_unknown_paper_is_not_new_and_of_a_known_one_is_told(database: Database) -> None:
    first = record(version=1)
    again = record(first.title, identifiers=first.identifiers, version=2, revision=True, abstract=first.abstract * 2)
    assert ingest.ingest(database, Listed(record(revision=True, version=3)), TODAY).new == 0
    assert ingest.ingest(database, Listed(first), TODAY).new == 1
    report = ingest.ingest(database, Listed(again), TODAY)
    assert (report.new, report.updated) == (0, 1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("feed:https://example.org/private/rss?key=hidden", "feed:example.org"),
        ("feed:https://[::1]:8000/hidden", "feed:::1"),
        ("folder:/srv/papers", "folder:/srv/papers"),
        ("huggingface", "huggingface"),
    ],
)
def test_logs_name_a_feed_without_its_key(name: str, told: str) -> None:
    assert sources.without_keys(name) == told
