from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.matching.index import _ID_BITS, IndexedPaper, Listed, PaperIndex
from service.matching.language import parse

PAPERS = [
    IndexedPaper(1, "LoRA for Language Models", "Low-rank adaptation.", authors=("Ada Inventor",),
                 categories=("cs.CL", "cs.LG"), sources=("arxiv",)),
    IndexedPaper(2, "Exploration by Robots", "We explore. A survey of language.", authors=("Ada Inventor-Smith",),
                 categories=("cs.RO",), sources=("arxiv", "huggingface"), organization="Stanford University"),
    IndexedPaper(3, "Vision–Language Modelling", "Models that model language and vision.",
                 categories=("cs.CV", "cs.CL"), keywords=("captioning",)),
    IndexedPaper(4, r"Poincar\'e Embeddings", "Hyperbolic geometry."),
]  # fmt: skip


@pytest.fixture(scope="module")
def index() -> PaperIndex:
    return PaperIndex.build(PAPERS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lora", {1}),
        ("explor*", {2}),
        ("language", {1, 2, 3}),
        ("language -survey", {1, 3}),
        ('"language model"', {1}),
        ('"vision language"', {3}),
        ('"language vision"', set()),
        ("title:language", {1, 3}),
        ("abstract:language", {2, 3}),
        ("cat:cs.CL", {1, 3}),
        ("primary:cs.CL", {1}),
        ("cat:cs", {1, 2, 3}),
        ("cat:cs -primary:cs.RO", {1, 3}),
        ('author:"Ada Inventor"', {1}),
        ("org:stanford", {2}),
        ('org:"stanford university"', {2}),
        ("source:huggingface", {2}),
        ("captioning", {3}),
        ("poincare", {4}),
        ("poincaré", {4}),
        ("lora OR (robots -survey)", {1}),
        ("lora OR robots", {1, 2}),
        ("nothing", set()),
    ],
)
def test_a_query_finds_exactly_what_it_says(index: PaperIndex, query: str, expected: set[int]) -> None:
    assert set(index.search(parse(query)).paper_ids.tolist()) == expected


def test_a_title_outweighs_an_abstract_and_equal_scores_keep_the_order_of_ids(index: PaperIndex) -> None:
    found = index.search(parse("language"))
    assert found.paper_ids.tolist()[-1] == 2
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert index.search(parse("cat:cs.CL")).paper_ids.tolist() == [1, 3]


def test_a_replaced_paper_is_found_as_it_is_now() -> None:
    index = PaperIndex.build(PAPERS)
    index.replace([IndexedPaper(4, "Something Else"), IndexedPaper(5, "A Fifth")])
    assert len(index) == 5
    assert len(index.search(parse("poincare"))) == 0
    assert index.search(parse("fifth")).paper_ids.tolist() == [5]


def test_an_empty_index_finds_nothing() -> None:
    assert len(PaperIndex.build([]).search(parse("anything"))) == 0


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=60), st.integers(1, 15))
def test_the_first_of_a_list_are_the_first_of_the_list_in_order(papers: list[tuple[int, int]], first: int) -> None:
    ages = np.array([(day << _ID_BITS) + paper for paper, (day, _) in enumerate(papers)], np.int64)
    scores = np.array([score for _, score in papers], np.float32)
    whole, ahead = Listed.of(ages, scores), Listed.of(ages, scores, first)
    assert ahead.ages[:first].tolist() == whole.ages[:first].tolist()
    assert ahead.scores[:first].tolist() == whole.scores[:first].tolist()
    assert set(ahead.ages.tolist()) == set(ages.tolist())
    asked = np.concatenate([ages[::2], ages[::2] + (9 << _ID_BITS)])
    assert whole.holds(asked).tolist() == [each in set(ages.tolist()) for each in asked.tolist()]
