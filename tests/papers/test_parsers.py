"""Every parser: good rows taken, bad rows told, and nothing but its own error for anything at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.papers import sources
from service.papers.record import PaperRecord, Problem, Row, SourceError
from service.papers.sources import arxiv_api, arxiv_oai, arxiv_rss, biorxiv, daily_page, huggingface, jsonl
from service.papers.sources import feed as feeds

PAGE = """new

Daily Papers

byAK and the research community

Nov 18

A First Invented Paper

An abstract of the first paper.

  • 8 authors
·
May 8, 2024 3

A Second Invented Paper

An abstract of the second.

inventorg Invented Organization
·
Feb 27

A Third Without a Date

Its abstract.
"""

ITEM = """<item><title>{title}</title><link>https://arxiv.org/abs/{id}</link>
<description>arXiv:{id}v1 Announce Type: new
Abstract: {abstract}</description><guid isPermaLink="false">oai:arXiv.org:{id}v1</guid>
<category>cs.CL</category><category>94A29</category><category>cs.SY</category>
<pubDate>Tue, 30 Jun 2026 00:00:00 -0400</pubDate>
<dc:creator>Ada Inventor (Lab A, Lab B), Bo M\\"uller</dc:creator></item>"""
FEED = """<?xml version="1.0"?><rss xmlns:dc="http://purl.org/dc/elements/1.1/" version="2.0"><channel><title>x</title>
{items}</channel></rss>"""


def feed(*ids: str) -> bytes:
    items = "".join(ITEM.format(id=each, title=f"Title {each}", abstract=f"Text of {each}.") for each in ids)
    return FEED.format(items=items).encode()


def daily(**paper: Any) -> dict[str, Any]:
    return {"paper": {"id": "2511.00001", "title": "An Invented Row", "authors": [], **paper}, "numComments": 4}


def records(rows: Iterator[Row]) -> list[PaperRecord]:
    return [row for row in rows if isinstance(row, PaperRecord)]


def problems(rows: Iterator[Row]) -> list[Problem]:
    return [row for row in rows if isinstance(row, Problem)]


# ---- the saved page --------------------------------------------------------------------------------------------------


def test_a_saved_page_gives_title_abstract_authors_or_organization_date_and_comments() -> None:
    first, second, third = records(daily_page.read_page(PAGE, "a page", as_of=date(2026, 11, 24)))
    assert (first.title, first.abstract) == ("A First Invented Paper", "An abstract of the first paper.")
    assert (first.author_count, first.published_on, first.comments) == (8, date(2024, 5, 8), 3)
    assert (second.organization, second.author_count) == ("Invented Organization", 0)
    assert (third.published_on, third.abstract) == (None, "Its abstract.")
    assert first.source == "huggingface"


def test_a_date_without_a_year_is_of_the_year_after_the_newest_named_one_but_never_in_the_future() -> None:
    def second(page: str, today: date) -> date | None:
        return records(daily_page.read_page(page, "a page", as_of=today))[1].published_on

    assert second(PAGE, date(2026, 11, 24)) == date(2025, 2, 27)
    assert second(PAGE, date(2025, 1, 15)) == date(2024, 2, 27)
    assert second(PAGE.replace(", 2024", ""), date(2026, 11, 24)) == date(2026, 2, 27)


def test_an_orphaned_date_costs_its_row_only() -> None:
    page = PAGE.replace("A First Invented Paper\n\nAn abstract of the first paper.\n\n", "")
    rows = list(daily_page.read_page(page, "a page", as_of=date(2026, 11, 24)))
    assert [row.title for row in rows if isinstance(row, PaperRecord)][-1] == "A Third Without a Date"
    assert len(problems(iter(rows))) == 1


# ---- Hugging Face ----------------------------------------------------------------------------------------------------


def test_a_row_of_the_api_is_read_by_the_paper_inside_it() -> None:
    row = daily(
        publishedAt="2025-11-26T16:14:18.000Z",
        submittedOnDailyAt="2025-11-28T00:00:00.000Z",
        authors=[{"name": "Ada Inventor"}, {"name": "Hidden Inventor", "hidden": True}],
        upvotes=49,
        organization={"name": "slug", "fullname": "Invented Org"},
        ai_keywords=["one", "two"],
        withdrawnAt="2025-12-01T00:00:00.000Z",
    ) | {"publishedAt": "2025-11-25T11:14:18.000Z"}
    (record,) = records(huggingface.read_rows([row]))
    assert record.published_on == date(2025, 11, 26)
    assert record.listed_on == record.featured_on == date(2025, 11, 28)
    assert record.authors == ("Ada Inventor",)
    assert (record.upvotes, record.comments, record.organization) == (49, 4, "Invented Org")
    assert record.withdrawn


def test_wrong_kinds_of_values_cost_the_field_or_the_row_but_no_neighbour() -> None:
    rows = [daily(), 7, None, {"paper": {"title": 5}}, daily(upvotes="many", authors="Ada", ai_keywords=3), []]
    read = list(huggingface.read_rows(rows))
    assert [type(row) for row in read] == [PaperRecord, Problem, Problem, Problem, PaperRecord, Problem]


# ---- arXiv feeds -----------------------------------------------------------------------------------------------------


def test_a_feed_item_is_read_whole() -> None:
    (record,) = records(arxiv_rss.read_feed(feed("2606.28354"), "a feed"))
    assert record.abstract == "Text of 2606.28354."
    assert record.authors == ("Ada Inventor", "Bo Müller")
    assert record.categories == ("cs.CL", "eess.SY"), "an MSC class is no category, an alias is folded"
    assert record.listed_on == date(2026, 6, 30)
    assert record.url == "https://arxiv.org/abs/2606.28354"


def test_atom_is_read_too() -> None:
    atom = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:dc="http://purl.org/dc/elements/1.1/">
    <entry><id>oai:arXiv.org:2508.13428v1</id><title>An Atom Entry</title><category term="cs.CV"/>
    <summary>arXiv:2508.13428v1 Announce Type: cross
    Abstract: Some text.</summary><published>2025-08-20T00:00:00-04:00</published>
    <dc:creator>Ada Inventor</dc:creator></entry></feed>"""
    (record,) = records(arxiv_rss.read_feed(atom, "a feed"))
    assert (record.title, record.abstract, record.categories) == ("An Atom Entry", "Some text.", ("cs.CV",))
    assert record.listed_on == date(2025, 8, 20)


def test_a_feed_cut_off_keeps_what_came_before_and_tells() -> None:
    whole = feed("2606.00001", "2606.00002", "2606.00003")
    rows = list(arxiv_rss.read_feed(whole[: whole.rindex(b"</description>") - 5], "a feed"))
    assert [row.title for row in rows if isinstance(row, PaperRecord)] == ["Title 2606.00001", "Title 2606.00002"]
    (problem,) = problems(iter(rows))
    assert "cut off" in problem.problem


def test_a_weekend_feed_without_items_is_empty_not_wrong() -> None:
    assert list(arxiv_rss.read_feed(feed(), "a feed")) == []


BOMB = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY x SYSTEM "file:///etc/hostname">]>
<rss><channel><item><title>&c;&c;&x;</title><guid>oai:arXiv.org:2606.00001v1</guid></item></channel></rss>"""


@pytest.mark.parametrize("bomb", [BOMB, BOMB.decode().replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16")])
@pytest.mark.parametrize("parser", ["arxiv-rss", "feed", "oai", "api"])
def test_a_document_that_declares_entities_is_refused(parser: str, bomb: bytes) -> None:
    with pytest.raises(SourceError, match="declares entities"):
        list(PARSERS[parser](bomb))


# ---- JSON Lines ------------------------------------------------------------------------------------------------------


def test_only_a_title_is_needed_and_every_key_is_understood() -> None:
    lines = [
        b'{"title": "Just a Title"}',
        b"",
        (
            b'{"title": "All", "id": "2511.00001v2", "doi": "10.1/X", "categories": "cs.CL 94A29", "daily_date": '
            b'"2024-09-02", "upvotes": 8, "org": "Org", "github": "https://example.org/x", "ai_summary": "Short."}'
        ),
    ]
    first, second = records(jsonl.read_lines(lines))
    assert first.source == "file"
    assert second.source == "huggingface"
    assert second.featured_on == date(2024, 9, 2)
    assert (second.categories, second.upvotes, second.tldr) == (("cs.CL",), 8, "Short.")


def test_links_that_are_no_web_links_are_not_taken() -> None:
    (record,) = records(jsonl.read_lines([b'{"title": "T", "url": "javascript:alert(1)", "pdf": "https://[bad"}']))
    assert record.url is None
    assert record.pdf_url is None


# ---- anything at all -------------------------------------------------------------------------------------------------

PARSERS: dict[str, Callable[[bytes], Iterator[PaperRecord | Problem]]] = {
    "page": lambda body: daily_page.read_page("Daily Papers\n\n" + body.decode("utf-8", "replace"), "x"),
    "arxiv-rss": lambda body: arxiv_rss.read_feed(body, "x"),
    "feed": lambda body: feeds.read_feed(body, "x"),
    "oai": lambda body: arxiv_oai.Page("x").read(body),
    "api": lambda body: arxiv_api.read_answer(body, "x"),
    "biorxiv": lambda body: iter(biorxiv.read_page(body, "x", "biorxiv").rows),
    "lines": lambda body: jsonl.read_lines(body.split(b"\n")),
}


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_bytes_make_a_parser_raise_anything_but_its_own_error(parser: str, body: bytes) -> None:
    told = ""
    rows: list[Row] = []
    try:
        rows = list(PARSERS[parser](body))
    except SourceError as error:
        told = str(error)
    assert "\n" not in told
    assert all(isinstance(row, PaperRecord | Problem) for row in rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["id", "title", "authors", "summary", "publishedAt", "upvotes", "organization", "ai_keywords"])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=6), max_size=5))
def test_a_good_row_survives_any_neighbours(papers: list[dict[str, Any]]) -> None:
    rows = list(huggingface.read_rows([*({"paper": paper} for paper in papers), daily()]))
    assert len(rows) == len(papers) + 1
    assert isinstance(rows[-1], PaperRecord)
    lines = [json.dumps(paper).encode() for paper in papers]
    assert isinstance(list(jsonl.read_lines([*lines, b'{"title": "Good"}']))[-1], PaperRecord)


# ---- files -----------------------------------------------------------------------------------------------------------


def written(folder: Path, body: bytes) -> Path:
    path = folder / "papers.dat"
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("body", "name", "count"),
    [
        (PAGE.encode(), "huggingface", 3),
        (b"\xef\xbb\xbf" + PAGE.encode(), "huggingface", 3),
        (json.dumps([daily()]).encode(), "huggingface", 1),
        (feed("2606.00001"), "arxiv", 1),
        (b'{"title": "One"}\n{"title": "Two"}\n', "file", 2),
        (b'not json\n{"title": "Two"}\n', "file", 1),
    ],
)
def test_a_files_format_is_told_from_its_content(
    tmp_path: Path, body: bytes, name: str, count: int, packed: bool
) -> None:
    if body.startswith(b"not json"):
        form: str | None = "jsonl"
    else:
        form = None
    source = sources.from_file(written(tmp_path, gzip.compress(body) if packed else body), form)
    assert source.name == name
    assert len(records(source.fetch(date(2026, 1, 1)))) == count


@pytest.mark.parametrize(
    ("body", "form", "said"),
    [
        (b"", None, "is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", None, "no known format"),
        (b"<!doctype html><html></html>", None, "HTML page"),
        (b"just some words", None, "no known format"),
        (b'{\n  "title":\n 1}', None, "no line of its beginning"),
        (b"[1, 2", None, "is not JSON"),
        (b'{"a": 1}', "huggingface", "is not a list"),
        (b"Daily Papers\n\n\xff\xfe", "page", "is not UTF-8"),
        (b"words", "page", "is not a saved Daily Papers page"),
        (b"words", "arxiv-rss", "is not"),
        (b"<root/>", None, "is not a feed"),
        (gzip.compress(b'{"title": "One"}\n' * 90_000)[:-30], None, "damaged"),
        (b"x", "word", "there is no format"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_clear_line(
    tmp_path: Path, body: bytes, form: str | None, said: str
) -> None:
    with pytest.raises(SourceError) as caught:
        list(sources.from_file(written(tmp_path, body), form).fetch(date(2026, 1, 1)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        sources.from_file(tmp_path / "nowhere")
