"""What people and their phones type, what silently could have meant something else, and what is meant to do harm."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.matching.language import Expression, QueryError, canonical, explain, parse, recall


@pytest.mark.parametrize(
    ("typed", "same_as"),
    [
        ("“speculative decoding”", '"speculative decoding"'),
        ("«speculative decoding»", '"speculative decoding"'),
        ("robots –survey", "robots -survey"),
        ("robots --survey", "robots -survey"),
        ("robots —survey", "robots -survey"),
        ("title: robots", "title:robots"),
        ("Title:robots", "title:robots"),
        ("（robots）", "robots"),
        ("robots - fish", "robots fish"),
        ("Attention: robots", "attention robots"),
        ("robots -(-fish -birds)", "robots (fish OR birds)"),
        ("models*", "models*"),
        ('author:"Ada  Lovelace"', 'author:"ada lovelace"'),
        ("see https://example.org/robots", '"https example org robot" see'),
    ],
)
def test_what_was_meant_is_understood(typed: str, same_as: str) -> None:
    assert parse(typed) == parse(same_as)


@pytest.mark.parametrize(
    ("typed", "said", "column"),
    [
        ("AND robots", "“AND” stands where a word is expected", 0),
        ("robots OR OR fish", "“OR” stands where a word is expected", 10),
        ("(robots AND)", "missing before the parenthesis", 11),
        ("robots NOT", "ends where a word is expected", 9),
        ("title:", "needs a word after it", 0),
        ("robots (author:)", "needs a word after it", 8),
        ("author:Lovelace", "needs a full name in quotation marks", 7),
        ("title:-robots", "goes before the field, as in -title:word", 6),
        ('cat:"cs\nCL"', "there is no arXiv category “cs CL”", 4),
        ("cat:" + "x" * 500, "there is no arXiv category “" + "x" * 39 + "…”", 4),
        (" ".join(f"ab{n}*" for n in range(11)), "at most 10", None),
        ("abs:(" + " ".join(f"word{n}xyzxyz" for n in range(99)) + ")", "written out, the query is too long", None),
        ("(" * 20 + "robots fish OR birds) OR cats" + " OR cats) dogs" * 19, "written out, parentheses", None),
        ("robots\x9ffish", "control character", 6),
    ],
)
def test_what_would_match_the_wrong_thing_is_refused(typed: str, said: str, column: int | None) -> None:
    with pytest.raises(QueryError) as caught:
        parse(typed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert caught.value.column == column


@pytest.mark.parametrize(
    "typed",
    [
        "x" * 10_000,
        " OR ".join(f"word{n}" for n in range(1_000)),
        "(" * 200 + "x" + ")" * 200,
        "(" * 1_900,
        "-" * 1_999,
        "*" * 1_999,
        '"' * 1_999,
        "NOT " * 499 + "x",
        "a:" * 900,
        "\\" * 1_999,
        r"\frac{" * 300,
        "title:" * 330,
        "- " * 900,
        "of " * 99,
        "a*b" * 600,
        "源" * 2_000,
        "&&||" * 490,
        "cat:" + "cs." * 600,
        "\ud800robots",
    ],
)
def test_hostile_input_is_answered_at_once(typed: str) -> None:
    parse("warm up")
    started = time.perf_counter()
    try:
        parse(typed)
    except QueryError as error:
        str(error).encode()
    assert time.perf_counter() - started < 0.05


def test_an_archive_is_explained_by_its_name() -> None:
    assert explain(parse("cat:cs.*")) == "any category of Computer Science (cs)"
    assert explain(parse("primary:cs")) == "any primary category of Computer Science (cs)"


PIECES = st.sampled_from(
    [
        *"robots fish neur* title:robot abs:fish org:acme cat:cs.CL primary:cs source:arxiv 源代码 C++ GPT-4".split(),
        *('"deep learning"', '"the"', 'author:"Ada B"', "the", "AND", "OR", "NOT", "-", "(", ")"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=12).map(" ".join).map(lambda text: text.replace("- ", "-")))
def test_what_is_kept_is_recalled_as_it_was_understood(typed: str) -> None:
    expression: Expression | None = None
    try:
        expression = parse(typed)
    except QueryError:
        return
    assert recall(canonical(expression)) == expression == parse(canonical(expression))


@pytest.mark.parametrize("text", ["", "(", "a AND", "a b", "a AND b OR c", "(a", "a)", "NOT", "AND"])
def test_a_text_of_somebody_else_is_not_recalled(text: str) -> None:
    with pytest.raises(ValueError, match="not a canonical query"):
        recall(text)
