"""`task: auto`: which task is chosen for which rows and model, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from luthier.errors import DataError, RecipeError
from luthier.recipe import Recipe, check
from luthier.recipe_schema import schema
from tests.runs import tiny_model

MESSAGES = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]
ANSWERS = {"text": ["w2"], "answer_start": [3]}
CHOICES: list[tuple[str, dict[str, Any], str]] = [
    ("bert", {"text": "w1", "label": "a"}, "text-classification"),
    ("llama", {"text": "w1", "label": "a"}, "text-classification"),
    ("bert", {"premise": "w1", "hypothesis": "w2", "label": 0}, "text-classification"),
    ("bert", {"tokens": ["w1"], "ner_tags": ["O"]}, "token-classification"),
    ("bert", {"text": "w1 w2", "spans": [{"start": 0, "end": 2, "label": "A"}]}, "token-classification"),
    ("llama", {"messages": MESSAGES}, "causal-lm"),
    ("llama", {"prompt": "w1", "completion": "w2"}, "causal-lm"),
    ("gpt2", {"text": "w1 w2"}, "causal-lm"),
    ("bert", {"text": "w1 w2"}, "masked-lm"),
    ("t5", {"document": "w1 w2", "summary": "w1"}, "seq2seq"),
    ("bert", {"question": "w1", "context": "w1 w2", "answers": ANSWERS}, "question-answering"),
    ("bert", {"question": "w1", "choices": ["w2", "w3"], "answer": 0}, "multiple-choice"),
    ("whisper", {"audio": "a.wav", "text": "w1"}, "speech-recognition"),
]


def asked(folder: Path, family: str, row: dict[str, Any], task: Any = "auto", **data: Any) -> Recipe:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(3)))
    model = folder / family
    if not model.is_dir():
        tiny_model(model, family)
    return check({"model": str(model), "data": {"train": str(path), **data}, "task": task})


@pytest.mark.parametrize(("family", "row", "kind"), CHOICES, ids=[f"{f}-{'-'.join(r)}" for f, r, _ in CHOICES])
def test_columns_and_architecture_choose_the_task(family: str, row: dict[str, Any], kind: str, tmp_path: Path) -> None:
    recipe = asked(tmp_path, family, row)
    assert recipe.task.kind() == kind
    assert recipe.notes[0].startswith(f"task: {kind}, as it reads ")


def test_the_reason_names_columns_and_architecture(tmp_path: Path) -> None:
    note = asked(tmp_path, "bert", {"body": "w1", "topic": "a", "id": 3}).notes[0]
    assert note == "task: text-classification, as it reads body, topic and suits a model built as encoder"


def test_settings_go_to_the_task_that_was_chosen(tmp_path: Path) -> None:
    recipe = asked(tmp_path, "bert", {"text": "w1", "label": "a"}, {"kind": "auto", "max_length": 64})
    assert recipe.task.model_dump()["max_length"] == 64


def test_columns_that_the_recipe_names_count(tmp_path: Path) -> None:
    recipe = asked(tmp_path, "bert", {"x": "w1", "z": "a"}, columns={"text": "x", "label": "z"})
    assert recipe.task.kind() == "text-classification"


def test_where_no_task_fits_it_is_said_for_which_columns_and_model(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="auto finds no task for the columns x, z and a model built as encoder; say"):
        asked(tmp_path, "bert", {"x": "w1", "z": "a"})


def test_rows_that_are_not_there_are_told(tmp_path: Path) -> None:
    tiny_model(tmp_path / "bert")
    with pytest.raises(DataError, match=r"there is no nowhere\.jsonl"):
        check({"model": str(tmp_path / "bert"), "data": "nowhere.jsonl", "task": "auto"})


def test_a_mistake_elsewhere_is_told_first(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="epoks"):
        check({"model": "m", "data": "nowhere.jsonl", "task": "auto", "training": {"epoks": 3}})


def test_editors_know_the_word() -> None:
    for task in ("auto", {"kind": "auto", "max_length": 64}):
        validate({"model": "m", "data": "a.csv", "task": task}, schema())
