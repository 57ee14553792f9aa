from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.papers.identity import arxiv_id, doi, identifiers
from service.papers.record import Identifier
from service.papers.text import LONGEST_ORIGINAL, original, plain, readable_key, title_key


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
        (r"at $10^{-3}$ of H$_2$O, $x^{n+1}$ in $\mathbb{R}^3$", "at 10⁻³ of H₂O, x^(n+1) in ℝ³"),
        (r"in \(\mathcal{O}(\log n)\) time", "in O(log n) time"),
        (
            r"code \href{https://a.example/x}{here}, at \url{https://a.example/y_z}",
            "code here (https://a.example/x), at https://a.example/y_z",
        ),
        (r"\textcolor{red}{seen}\footnote{Once.} before~\cite{one,two}", "seen (Once.) before"),
        ("``So'' they say, models~(LLMs), Fig.~3, ~4x", "“So” they say, models (LLMs), Fig. 3, ~4x"),
        ("pages 3--4 --- a run --flag", "pages 3–4 — a run --flag"),
        ("R&amp;amp;D eﬃcient 𝒪(n)", "R&D efficient O(n)"),
        (r"Erd\H{o}s, \L{}ukasz, Stra{\ss}e, na\"{\i}ve", "Erdős, Łukasz, Straße, naïve"),
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


_PIECES = st.lists(
    st.sampled_from(
        ["$", "\\", "{", "}", "^", "_", "~", "--", "``", "''", "&amp;", "&#x202e;", "&#0;", "<i>", "<", ">", "\\href{",
         "\\footnote{", "\\cite{", "\\(", "\\)", "\\frac", "\\'e", "%", "\n", "\u200b", "\ud800", "w", "10", "ﬁ", " "]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(_PIECES)
def test_pieces_of_markup_in_any_order_become_one_clean_line(text: str) -> None:
    said = plain(text)
    assert said == " ".join(said.split())
    assert all(each.isprintable() for each in said)
    assert unicodedata.is_normalized("NFC", said)
    assert "\u202e" not in said


@given(st.text(st.characters(categories=["Lu", "Ll", "Nd", "Zs"]), max_size=200))
def test_words_without_markup_are_left_as_they_are(text: str) -> None:
    kept = unicodedata.normalize("NFC", " ".join(text.split()))
    plainer = "".join(
        unicodedata.normalize("NFKC", each) if 0x1D400 <= ord(each) < 0x1D800 or 0xFB00 <= ord(each) < 0xFB07 else each
        for each in kept
    )
    assert plain(text) == unicodedata.normalize("NFC", plainer)


@given(_PIECES | st.text(alphabet=st.characters(), max_size=100))
def test_the_original_is_kept_where_it_says_more_and_can_be_stored(text: str) -> None:
    kept = original(text, plain(text))
    if kept is None:
        assert plain(text) == " ".join(text.split())
    else:
        assert "\x00" not in kept
        assert len(kept) == len(text)
        kept.encode()


def test_nothing_is_kept_of_what_is_no_text() -> None:
    assert original(None, "x") is None
    assert original(["x"], "x") is None
    assert original("a\n  b", "a b") is None
    assert original("$x$", None) is None
    assert original("$x$\x00", "x") == "$x$\ufffd"
    assert len(original("$x$" * 1_000_000, "x") or "") == LONGEST_ORIGINAL


@given(st.text(max_size=80))
def test_the_key_of_a_readable_title_is_that_of_the_title(text: str) -> None:
    assert readable_key(plain(text)) == title_key(text)


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
