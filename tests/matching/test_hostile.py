"""What a stranger may type: always a clear answer, and never a dear query."""

from __future__ import annotations

import pytest

from benchmarks.preview import HOSTILE
from service.matching import language
from service.matching.expression import prefixes
from service.matching.index import IndexedPaper, PaperIndex
from service.matching.language import QueryError

REFUSED = {
    "10,000 characters": "too long",
    "1,000 clauses": "too long",
    "200 parentheses": "nested too deep",
    "leading wildcard": "only stand at the end of a word",
    "only negations": "say also what you want",
    "only stop words": "only very common words",
    "control characters": "control character",
    "ten short beginnings": "counts as three",
    "ten short beginnings, all of them": "counts as three",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_hostile_text_is_refused_in_one_clear_line(kind: str) -> None:
    with pytest.raises(QueryError, match=REFUSED[kind]) as caught:
        language.parse(HOSTILE[kind])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - REFUSED.keys()))
def test_other_hostile_text_is_refused_or_searched_within_the_limits(kind: str) -> None:
    try:
        understood = language.parse(HOSTILE[kind])
    except QueryError:
        return
    assert len(PaperIndex.build([IndexedPaper(1, "A model of the model")]).search(understood)) <= 1
    assert prefixes(understood) <= language.MOST_PREFIXES


def test_the_dearest_beginnings_are_rationed() -> None:
    language.parse("ab* OR cd* OR ef* OR ghij*")
    language.parse("abc* OR bcd* OR cde* OR def* OR efg*")
    with pytest.raises(QueryError, match="counts as three"):
        language.parse("ab* OR cd* OR ef* OR gh*")
    language.parse(" OR ".join(f"abcd{letter}*" for letter in "abcdefghij"))
