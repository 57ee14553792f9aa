"""What the normaliser does to words that a simpler rule gets wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.matching.normalise import joined, name, prefix, tokens

AWKWARD = (
    "APIs LMs ReLUs ßs ſ ŉ İ Ĳ ﬀ µ Å ǆ ή ς Σς ½ ② が ｶﾞ ᾳ C++s c# 's ’s criterias datass axes α's biasess busses हिन्दी"
).split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LMs, APIs, ReLUs and KGs", "lm api relu and kg"),
        ("GPS and IDS are no plurals; As, Is", "gps and ids are no plural as is"),
        ("gpus apis rois", "gpu api roi"),
        ("caches approaches niches", "cache approach niche"),
        ("biases lenses viruses buses", "bias lens virus bus"),
        ("uses causes houses responses databases", "use cause house response database"),
        ("news SARS Mars MEMS", "news sars mars mems"),
        ("movies cookies policies", "movie cookie policy"),
        ("critics topics metrics physics robotics", "critic topic metric physics robotics"),
        ("children minima nuclei", "child minimum nucleus"),
        ("Søren Łukasz Đặng", "soren lukasz dang"),
        (r"\v{S}ko\u{g} \o re \beta", "skog o re beta"),
        ("β-VAE, π0, μP", "beta vae pi0 mup"),
        ("Ελληνικά", "ελληνικα"),
        ("atten\u00adtion zero\u200bwidth", "attention zerowidth"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("がん", "が ん"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
    ],
)
def test_words_that_simpler_rules_get_wrong(text: str, expected: str) -> None:
    assert joined(text) == expected


def test_a_name_is_not_taken_for_a_plural() -> None:
    assert name("Ada C. Williams-Jones") == "ada c williams jones"
    assert name("José Ñandú") == name("JOSE NANDU") == "jose nandu"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(AWKWARD) | st.text(max_size=4), max_size=6).map("".join) | st.text(max_size=50))
def test_folding_what_is_folded_changes_nothing(text: str) -> None:
    assert tokens(joined(text)) == tokens(text)
    assert name(name(text)) == name(text)
    assert not prefix(text) or prefix(prefix(text)) == prefix(text)
