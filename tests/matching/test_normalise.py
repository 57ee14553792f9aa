from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.matching.normalise import joined, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vision-Language Models", "vision language model"),
        ("LLMs and GPUs", "llm and gpu"),
        ("policies, matrices, analyses, classes, boxes", "policy matrix analysis class box"),
        ("bias, analysis, loss, physics, corpus, lens, series", "bias analysis loss physics corpus lens series"),
        ("topics and metrics", "topic and metric"),
        (r"Andr\'e's na\"{\i}ve $\alpha$-test", "andre naive alpha test"),
        ("Café Ångström STRASSE straße", "cafe angstrom strasse strasse"),
        ("don't", "dont"),
        ("C++ and C#", "cplusplus and csharp"),
        ("GPT-4o/3D", "gpt 4o 3d"),
        ("ﬁne ½", "fine 1 2"),
        ("大规模 models", "大 规 模 model"),
        ("한국어 모델", "한국어 모델"),
        ("… — !?", ""),
    ],
)
def test_tokens_are_whole_folded_words(text: str, expected: str) -> None:
    assert joined(text) == expected


@given(st.text(max_size=200))
def test_a_normalised_text_is_its_own_normal_form(text: str) -> None:
    assert tokens(joined(text)) == tokens(text)


@given(st.text(max_size=200))
def test_tokens_hold_letters_and_digits_only(text: str) -> None:
    assert all(token.isalnum() for token in tokens(text) if token.isascii())
    assert not any(" " in token for token in tokens(text))
