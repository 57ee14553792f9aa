from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.papers.identity import arxiv_id, doi, identifiers
from service.papers.record import Identifier
from service.papers.text import plain, title_key


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        (r"Andr\'e \"{O}zg\"ur \c{C}a\u{g}lar", "André Özgür Çağlar"),
        ("A title\n  folded over lines", "A title folded over lines"),
        (r"an $\alpha$-divergence in $O(n^2)$", "an α-divergence in O(n²)"),
        ("costs $5 and $10", "costs $5 and $10"),
        (r"50% of runs, 3\% of time", "50% of runs, 3% of time"),
        ("R&amp;D &lt;now&gt;", "R&D <now>"),
        ("an <i>E. coli</i> study, p < 0.05", "an E. coli study, p < 0.05"),
        ("soft\u00adhyphen zero\u200bwidth \u202eoverride", "softhyphen zerowidth override"),
        ("null\x00 and bell\x07", "null and bell"),
        (r"\textbf{bold} {BERT}", "bold BERT"),
        ("e\u0301", "\u00e9"),
        (r"\unknownmacro", "unknownmacro"),
    ],
)
def test_text_reads_as_a_person_would_write_it(given_text: str, expected: str) -> None:
    assert plain(given_text) == expected


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300) | st.from_regex(r"[\\${}a-z%&<>^_ ]{0,80}"))
def test_any_text_becomes_one_clean_line(text: str) -> None:
    said = plain(text)
    assert "\n" not in said
    assert "\x00" not in said
    assert said == said.strip()
    assert unicodedata.is_normalized("NFC", said)


def test_two_printings_of_one_title_have_one_key() -> None:
    assert title_key("Attention: Is It  All\nYou Need?") == title_key("Attention — is it all you need")
    assert title_key("Ökonomie") == title_key("Okonomie")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2606.28354", "2606.28354"),
        ("2606.28354v3", "2606.28354"),
        ("oai:arXiv.org:2606.28354v1", "2606.28354"),
        ("https://arxiv.org/abs/2606.28354v2", "2606.28354"),
        ("http://arxiv.org/pdf/2606.28354.pdf", "2606.28354"),
        ("arXiv:hep-th/9901001v1", "hep-th/9901001"),
        ("math.gt/0309136", "math.GT/0309136"),
        ("10.48550/arXiv.2606.28354", "2606.28354"),
        ("https://doi.org/10.48550/arXiv.2606.28354", "2606.28354"),
        ("2606.2", None),
        ("hello", None),
        ("", None),
    ],
)
def test_arxiv_ids_are_known_in_every_spelling(text: str, expected: str | None) -> None:
    assert arxiv_id(text) == expected


def test_dois_are_folded_and_arxivs_own_count_as_arxiv_ids() -> None:
    assert doi("https://doi.org/10.1101/2024.12.31.630767") == "10.1101/2024.12.31.630767"
    assert doi("doi:10.1000/ABC.") == "10.1000/abc"
    assert doi("not a doi") is None
    both = identifiers(arxiv="2606.28354v1", doi_text="10.48550/arXiv.2606.28354")
    assert both == (Identifier("arxiv", "2606.28354"),)
