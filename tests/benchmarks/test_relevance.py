from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import relevance


def labels(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_label_names_a_paper_by_runs_of_words_and_by_acronyms(tmp_path: Path) -> None:
    path = labels(
        tmp_path / "labels.jsonl",
        {"title": "A", "abstract": "about", "ai_keywords": ["Latent Diffusion Models (LDMs)", "fine-tuning"]},
        {"title": "B", "abstract": None, "ai_keywords": ["exploration", "finetuning"]},
        {"title": "without labels", "ai_keywords": []},
        {"title": "not a list", "ai_keywords": "words"},
    )
    papers = relevance.read(path)
    assert len(papers) == 2
    assert relevance.positive(papers, ["diffusion model"]) == {0}
    assert relevance.positive(papers, ["LDM"]) == {0}
    assert relevance.positive(papers, ["fine tuning"]) == {0, 1}
    assert relevance.positive(papers, ["lora"]) == set()


def test_another_file_fills_up_with_its_own_labels(tmp_path: Path) -> None:
    row: dict[str, object] = {"title": "On trout", "abstract": "Trout swim.", "ai_keywords": ["trout", "swimming"]}
    papers = relevance.read(labels(tmp_path / "labels.jsonl", row))
    names = [keyword.name for keyword in relevance.filled_up(relevance.kept(), papers)]
    assert names == ["swimming", "trout"]
    means = relevance.evaluated(papers, relevance.filled_up(relevance.kept(), papers))["keyword"]
    assert means["ours"] == {"precision": 0.5, "recall": 0.5}


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[1]", b'{"title": "x"}', b"\x1f\x8bnonsense", b"\xff"])
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(content)
    with pytest.raises(relevance.LabelsError, match=r"labels\.jsonl"):
        relevance.read(path)


def test_the_keywords_that_are_kept_are_those_of_the_first_half(shared_data: Path) -> None:
    first, _ = relevance.halves(relevance.read(shared_data / "hf_daily.jsonl.gz"))
    assert relevance.chosen(first) == relevance.kept()


def test_ours_finds_more_of_what_is_meant_than_plain_matching_at_no_less_precision(shared_data: Path) -> None:
    path = shared_data / "hf_daily.jsonl.gz"
    _, second = relevance.halves(relevance.read(path))
    means = relevance.evaluated(second, relevance.kept())["keyword"]
    assert means["queries"] >= 40
    assert means["ours"]["recall"] >= 0.93
    for peer in ("substring", "word_boundary"):
        assert means["ours"]["recall"] > means[peer]["recall"]
        assert means["ours"]["precision"] >= means[peer]["precision"]


def test_about_is_the_stricter_operating_point_on_dates_that_nothing_was_tuned_on(shared_data: Path) -> None:
    _, second = relevance.halves(relevance.read(shared_data / "hf_daily.jsonl.gz"))
    points = relevance.operating_points(relevance.evaluated(second, relevance.kept()))
    every, about = points["every mention"]["pooled"], points["about:"]["pooled"]
    assert about["precision"] > every["precision"] + 0.05
    assert 0.5 < about["recall"] < every["recall"]
