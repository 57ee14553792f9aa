from __future__ import annotations

import pytest

from service.matching.edition import EditionIndex
from service.matching.emphasis import LONGEST_RUN, asked, dwelt_on
from service.matching.index import IndexedPaper, PaperIndex
from service.matching.language import explain, parse
from service.matching.normalise import tokens
from service.matching.places import Place


def runs(abstract: str) -> set[str]:
    return set(dwelt_on(abstract, tokens(abstract)))


def test_what_is_said_twice_is_dwelt_on_as_words_and_as_phrases() -> None:
    assert runs("Trout in rivers. We count trout in rivers, and eels.") == {"trout", "trout in river", "river"}


def test_what_is_introduced_with_an_abbreviation_is_dwelt_on() -> None:
    assert runs("We study the large language models (LLMs) of today.") >= {
        "llm",
        "language model",
        "large language model",
    }
    assert "we study" not in runs("We study large language models (LLMs).")
    assert runs("We count fish (trout) and others (see below).") == set()


def test_very_common_words_are_never_dwelt_on() -> None:
    assert runs("The fish of the sea and the birds of the air.") == set()
    assert asked(("state", "of", "the", "art")) == "state of the art"
    assert asked(("the", "fish")) == "fish"
    assert asked(("of", "the")) == ""


def test_a_text_that_repeats_itself_gives_no_more_than_its_terms() -> None:
    given = runs("A long sentence about robots and what they do all day in a field. " * 2_000)
    assert "long sentence about robot" in given
    assert max(len(run.split()) for run in given) == LONGEST_RUN
    assert len(given) < 200


PAPERS = [
    IndexedPaper(1, "Counting trout", "A method."),
    IndexedPaper(2, "A method", "Trout are counted; few trout are left."),
    IndexedPaper(3, "A method", "Unlike trout, eels are long."),
    IndexedPaper(4, "A method", "Eels.", keywords=("trout",)),
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("trout", {1, 2, 3, 4}),
        ("about:trout", {1, 2, 4}),
        ("about:tro*", {1, 2, 4}),
        ("method -trout", set()),
        ("method -about:trout", {3}),
    ],
)
def test_about_leaves_passing_mentions_out_and_an_exclusion_counts_every_mention(query: str, found: set[int]) -> None:
    assert set(PaperIndex.build(PAPERS).search(parse(query)).paper_ids.tolist()) == found
    assert {paper for paper, _ in EditionIndex(PAPERS).search(parse(query))} == found


def test_what_an_abstract_dwells_on_is_one_signal_more_than_a_mention() -> None:
    assert dict(EditionIndex(PAPERS).search(parse("trout"))) == {
        1: Place.TITLE,
        2: Place.ABSTRACT | Place.DWELT_ON,
        3: Place.ABSTRACT,
        4: Place.KEYWORDS,
    }


def test_about_is_said_in_words() -> None:
    assert explain(parse('about:"sea trout"')) == "“sea trout” as a main subject"
