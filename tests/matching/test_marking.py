from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.matching import marking
from service.matching.language import parse, terms
from service.matching.normalise import tokens


def marks(query: str, text: str, field: str = "title") -> list[str]:
    return [piece.text for piece in marking.marked(text, terms(parse(query)), field) if piece.marked]


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("model", "Models, and a model's model-free MODEL.", ["Models", "model's", "model", "MODEL"]),
        ('"vision language model"', "Vision–Language Models for all", ["Vision–Language Models"]),
        ("multimodal", "Multi-modal, multi modal, multimodal", ["Multi-modal", "multi modal", "multimodal"]),
        ('"fine-tuning"', "Finetuning or fine tuning", ["Finetuning", "fine tuning"]),
        ("lora", "LoRA in exploration", ["LoRA"]),
        ("neuro*", "A neurosymbolic neural neuron", ["neurosymbolic", "neuron"]),
        ("cafe", "Café and cafe\u0301s", ["Café", "cafe\u0301s"]),
        ("beta", "The β-VAE", ["β"]),
        ("c++", "Written in C++, not C", ["C++"]),
        ("llm", "(LLMs)", ["LLMs"]),
        ("东京", "在东京大学", ["东京"]),
        ("diffusion -survey", "A survey of diffusion", ["diffusion"]),
        ("abstract:diffusion", "diffusion", []),
        ("cat:cs.CL", "cs.CL", []),
        ("deep learning", "deep learning", ["deep", "learning"]),
        ('"deep learning" OR learning', "deep learning", ["deep learning"]),
    ],
)
def test_what_is_marked_is_what_matched(query: str, text: str, expected: list[str]) -> None:
    assert marks(query, text) == expected


@given(st.text(max_size=60))
def test_reading_a_text_in_places_gives_the_normalisers_tokens_or_stays_within_the_text(text: str) -> None:
    reading = marking.read(text)
    assert len(reading.words) == len(reading.starts) == len(reading.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(reading.starts, reading.ends, strict=True))
    if "\\" not in text:
        assert reading.words == tokens(text)


@given(st.text(alphabet="abc -<>&é", max_size=40), st.sampled_from(["a", "ab", '"a b"', "ab*", "a OR c"]))
def test_pieces_joined_are_the_text(text: str, query: str) -> None:
    made = marking.marked(text, terms(parse(f"x OR {query}")), "title")
    assert "".join(piece.text for piece in made) == text


def test_every_real_title_reads_the_same_in_places(shared_data: Path) -> None:
    different = []
    with gzip.open(shared_data / "arxiv_papers.jsonl.gz") as lines:
        for line in lines:
            title = json.loads(line)["title"]
            if "\\" not in title and marking.read(title).words != tokens(title):
                different.append(title)
    assert different == []
