from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.matching import language
from service.matching.language import And, Exact, Expression, Not, Or, QueryError, Text, canonical, explain, parse


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ('"speculative decoding" -survey', '"speculative decoding" AND NOT survey'),
        ("robots fish", "fish AND robot"),
        ("state-of-the-art", '"state of the art"'),
        ("the robots of the moon", "moon AND robot"),
        ('"the robots"', '"the robot"'),
        ("neural*", "neural*"),
        ("a1 b1 OR c1", "(a1 AND b1) OR c1"),
        ("a1 (b1 OR c1)", "(b1 OR c1) AND a1"),
        ("title:(deep learning)", "title:deep AND title:learning"),
        ("ti:deep abs:learning", "abstract:learning AND title:deep"),
        ('au:"Yang Liu"', 'author:"yang liu"'),
        ("cat:cs.cl primary:CS.RO", "cat:cs.CL AND primary:cs.RO"),
        ("cat:cs.*", "cat:cs"),
        ("cat:(cs.CL OR cs.SY)", "cat:cs.CL OR cat:eess.SY"),
        ("robots NOT (fish OR birds)", "NOT (bird OR fish) AND robot"),
        ("robots && fish || birds", "(fish AND robot) OR bird"),
        ("robots AND robots", "robot"),
        ("org:stanford", "org:stanford"),
        ("source:arxiv", "source:arxiv"),
        ("源代码", '"源 代 码"'),
    ],
)
def test_what_is_typed_has_one_canonical_form(typed: str, expected: str) -> None:
    assert canonical(parse(typed)) == expected


@pytest.mark.parametrize(("one", "other"), [("b OR a", "a OR b"), ("x y", "Y AND X"), ("(a1 b1) c1", "a1 (c1 b1)")])
def test_queries_that_mean_the_same_are_one(one: str, other: str) -> None:
    assert parse(one) == parse(other)


@pytest.mark.parametrize(
    ("typed", "said", "column"),
    [
        ("", "is empty", None),
        ("   ", "is empty", None),
        ("the of and", "only very common words", None),
        ("!!! ---", "only very common words", None),
        ("-survey", "only excludes", None),
        ("robots OR -fish", "almost everything", None),
        ('robots "fish', "a quotation mark is not closed", 7),
        ("(robots", "a parenthesis is not closed", 0),
        ("robots)", "never opened", 6),
        ("robots AND", "ends where a word is expected", 9),
        ("robots AND ()", "a word is missing before the parenthesis", 12),
        ("*bots", "may only stand at the end", 0),
        ("ro*ts", "may only stand at the end", 0),
        ("r*", "at least 2 letters", 0),
        ("tilte:x", "did you mean title:?", 0),
        ("robots color:red", "the fields are", 7),
        ("cat:cs.XX", "did you mean", 4),
        ("source:nowhere", "the sources are", 7),
        ("author:!!!", "needs a full name", 7),
        ("robots\x07fish", "control character", 6),
        ("x" * 2_001, "too long", None),
        (" ".join("word" for _ in range(101)), "too many parts", None),
        ("(" * 21 + "x" + ")" * 21, "nested too deep", 20),
    ],
)
def test_a_mistake_is_one_line_with_place_and_remedy(typed: str, said: str, column: int | None) -> None:
    with pytest.raises(QueryError) as caught:
        parse(typed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.column == column


def test_a_query_is_explained_in_words() -> None:
    said = explain(parse('title:robot* (author:"Ada Inventor" OR cat:cs.CL) -survey'))
    assert said == (
        "(author “ada inventor” or category Computation and Language (cs.CL)) and words beginning with “robot” in the"
        " title, but not “survey”"
    )


def test_terms_are_what_the_query_wants_to_read() -> None:
    wanted = language.terms(parse('"deep learning" title:robot cat:cs.CL -survey'))
    assert wanted == (Text(("deep", "learning")), Text(("robot",), "title"))


WORDS = st.sampled_from(["robot", "fish", "deep", "learning", "a", "the", "42", "gpt"])
LEAVES: st.SearchStrategy[Expression] = st.one_of(
    st.builds(lambda words, field: Text(tuple(words), field), st.lists(WORDS, min_size=1, max_size=3),
              st.sampled_from([None, "title", "abstract", "about", "org"])),
    st.builds(lambda word: Text((word,), None, prefix=True), st.sampled_from(["neur", "robo"])),
    st.builds(Exact, st.just("author"), st.sampled_from(["ada inventor", "bo"])),
    st.builds(Exact, st.sampled_from(["cat", "primary"]), st.sampled_from(["cs.CL", "cs", "hep-th"])),
    st.just(Exact("source", "arxiv")),
)  # fmt: skip


def _combined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    parts = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        parts.map(lambda each: And(tuple(each))),
        parts.map(lambda each: Or(tuple(each))),
        st.tuples(inner, inner).map(lambda pair: And((pair[0], Not(pair[1])))),
    )


@settings(max_examples=200, deadline=None)
@given(st.recursive(LEAVES, _combined, max_leaves=8))
def test_the_canonical_form_parses_to_itself(expression: Expression) -> None:
    once = parse(canonical(expression))
    assert parse(canonical(once)) == once
    assert canonical(parse(canonical(once))) == canonical(once)
    assert explain(once)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet='ab "()-*:ANDORT\\', max_size=60))
def test_any_text_is_understood_or_refused_in_one_line(typed: str) -> None:
    told = ""
    try:
        expression = parse(typed)
    except QueryError as error:
        told = str(error)
    else:
        assert parse(canonical(expression)) == expression
    assert "\n" not in told
