"""The model card is one the hub accepts, and nothing private is on it."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from luthier.report.card import card
from luthier.report.write import write_report
from tests.report.folder import make_run, share_right

OUTCOMES = {split: share_right(150, 200) for split in ("train", "validation", "test")}
NUMBERS = [(float(row), row + 0.1) for row in range(50)]
LABELS = ("ham", "spam")


def test_the_hub_reads_the_front_matter(tmp_path: Path):
    data = ModelCard(card(make_run(tmp_path / "spam", OUTCOMES, labels=LABELS))).data
    assert (data.library_name, data.pipeline_tag, data.tags) == (
        "transformers",
        "text-classification",
        ["luthier", "full"],
    )
    assert data.model_name == "spam"
    result = data.eval_results[0]
    assert (result.metric_type, result.metric_name, result.metric_value) == ("f1", "f1-macro", 0.75)
    assert result.dataset_split == "test"
    assert {"f1", "accuracy", "matthews"} <= set(data.metrics)


def test_words_that_yaml_knows_otherwise_stay_words(tmp_path: Path):
    assert ModelCard(card(make_run(tmp_path / "no", OUTCOMES, labels=LABELS))).data.model_name == "no"


def test_only_a_model_of_the_hub_is_a_base_model(tmp_path: Path):
    from_hub = make_run(tmp_path / "a", OUTCOMES, labels=LABELS, model="org/name", environment={"model_sha256": None})
    from_disk = make_run(tmp_path / "b", OUTCOMES, labels=LABELS, model="org/name")
    assert ModelCard(card(from_hub)).data.base_model == "org/name"
    assert ModelCard(card(from_disk)).data.base_model is None


def test_what_has_no_plain_model_is_an_adapter(tmp_path: Path):
    run = make_run(tmp_path / "run", OUTCOMES, labels=LABELS)
    run.model_folder.rmdir()
    content = card(run)
    assert ModelCard(content).data.library_name == "peft"
    assert "luthier.load" in content
    assert "from transformers import pipeline" not in content


@pytest.mark.parametrize("model", ["package:some_model/model", "/home/ann/models/bert", "~/bert", "../ann/bert"])
def test_no_path_of_this_machine_is_on_the_card(tmp_path: Path, model: str):
    content = card(make_run(tmp_path / "run", OUTCOMES, labels=LABELS, model=model))
    assert str(tmp_path) not in content
    assert not re.search(r"/(home|tmp|root)\b|\bann\b|~", content)


def test_hostile_labels_are_neither_html_nor_markdown(tmp_path: Path):
    labels = ("<script>alert(1)</script>", "[x](javascript:alert(1))\n# a | b")
    never_right = [(0, 0)] * 200 + [(1, 0)] * 200
    content = card(make_run(tmp_path / "run", {"train": never_right, "test": never_right}, labels=labels))
    assert "<script>" not in content
    assert "](javascript" not in content.replace("\\]", "")
    assert "\n# a" not in content


def test_a_regression_without_rows_held_out_has_no_results(tmp_path: Path):
    content = card(make_run(tmp_path / "run", {"train": NUMBERS}))
    assert ModelCard(content).data.eval_results is None
    assert "| spearman | 1.000 [1.000, 1.000] |" in content


def test_report_and_card_are_written_beside_the_run(tmp_path: Path):
    run = make_run(tmp_path / "run", OUTCOMES, labels=LABELS)
    write_report(run)
    assert (run.folder / "report.html").read_text().startswith("<!doctype html>")
    assert (run.folder / "README.md").read_text().startswith("---\n")
