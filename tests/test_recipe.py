"""A recipe: what is written is read back, and every mistake is told at once, with its place and what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.component import names
from luthier.errors import RecipeError
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.other_names import INSTEAD, KINDS_INSTEAD, OUR_NAMES
from luthier.recipe import Recipe, dump, parse, read
from luthier.training.optimizers.adamw import AdamW
from luthier.training.schedules.linear import Linear
from luthier.training.settings import Training

LEAST = "model: {name: some/model}\ndata: {train: a.csv}\ntask: text-classification\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, source="r.yaml")
    return str(caught.value).splitlines()


def test_three_settings_are_enough() -> None:
    recipe = parse(LEAST)
    assert (recipe.model.name, recipe.data.train, recipe.task.kind()) == ("some/model", "a.csv", "text-classification")
    assert recipe.method == Full()
    assert (recipe.training.optimizer, recipe.training.schedule) == (AdamW(), Linear())


def test_a_plain_word_stands_for_a_model_and_for_data() -> None:
    assert parse("model: some/model\ndata: a.csv\ntask: text-classification\n") == parse(LEAST)


@pytest.mark.parametrize("method", names("methods"))
@pytest.mark.parametrize("optimizer", names("optimizers"))
@pytest.mark.parametrize("schedule", names("schedules"))
def test_what_is_dumped_is_parsed_back(method: str, optimizer: str, schedule: str) -> None:
    text = f"{LEAST}method: {method}\ntraining: {{optimizer: {optimizer}, schedule: {schedule}, learning_rate: 1e-5}}\n"
    recipe = parse(text)
    assert parse(dump(recipe)) == recipe
    assert dump(parse(dump(recipe))) == dump(recipe)


@given(st.lists(st.text(min_size=1), min_size=1), st.dictionaries(st.text(), st.text()), st.floats(1e-12, 1e6))
def test_any_label_column_and_rate_is_parsed_back(labels: list[str], columns: dict[str, str], rate: float) -> None:
    recipe = Recipe.model_validate(
        {
            "model": "m",
            "data": {"train": "a.csv", "columns": columns},
            "task": {"kind": "text-classification", "labels": labels},
            "training": {"learning_rate": rate},
        }
    )
    assert parse(dump(recipe)) == recipe


@pytest.mark.parametrize(
    "label", ["yes", "no", "null", "~", "1", "1e5", "0x1f", "true", "2024-01-01", "", " a ", "a: b"]
)
def test_a_label_that_looks_like_something_else_stays_text(label: str) -> None:
    recipe = Recipe.model_validate(
        {"model": "m", "data": "a.csv", "task": {"kind": "text-classification", "labels": [label, "b"]}}
    )
    assert parse(dump(recipe)).task.labels == (label, "b")


def test_a_dumped_recipe_writes_out_every_default() -> None:
    written = dump(parse(LEAST + "method: lora\n"))
    assert all(f"  {name}:" in written for name in Lora.model_fields)
    assert "max_grad_norm: 1.0" in written
    assert "steps: null" in written


MISTAKEN = """\
model:
  nam: m
data:
  train: 5
  validation: 1.5
task:
  kind: text-clasification
method:
  kind: lora
  rank: 0
  lora_alpha: 3
  targets: []
training:
  epochs: lots
  lr: 3
  optimizer: {kind: adam}
  clip: true
otput: x
"""


def test_all_mistakes_are_told_at_once_each_with_its_line() -> None:
    assert sorted(mistakes(MISTAKEN), key=lambda line: int(line.split(":")[1])) == [
        "r.yaml:1: model.name: is needed, and missing",
        "r.yaml:2: model.nam: unknown setting of model; did you mean name?",
        "r.yaml:4: data.train: should be a valid string, not 5",
        "r.yaml:5: data.validation: should be less than 1 or should be a valid string, not 1.5",
        "r.yaml:6: task: no task is called text-clasification; did you mean text-classification?",
        "r.yaml:10: method.rank: should be greater than 0, not 0",
        "r.yaml:11: method.lora_alpha: is another tool's name; here it is method.alpha",
        "r.yaml:12: method.targets: list should have at least 1 item, not []",
        "r.yaml:14: training.epochs: should be a valid number, not 'lots'",
        "r.yaml:15: training.lr: is another tool's name; here it is training.learning_rate",
        "r.yaml:16: training.optimizer: no optimizer is called adam; did you mean adamw?",
        f"r.yaml:17: training.clip: unknown setting of training; it has {', '.join(Training.model_fields)}",
        "r.yaml:18: otput: unknown setting of a recipe; did you mean output?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LEAST + "method: {kind: lorra}\n", "r.yaml:4: method: no method is called lorra; did you mean lora?"),
        (
            LEAST + "method: {kind: qlora}\n",
            "qlora is kind: lora over a quantised base here: method=lora model.quantize=nf4",
        ),
        (LEAST + "method: qlora\n", "r.yaml:4: method: qlora is kind: lora over a quantised base here"),
        (LEAST + "method: {kind: freeze}\n", "freeze is kind: partial here, as in {kind: partial, train: last-2}"),
        (
            LEAST + "load_in_4bit: true\n",
            "r.yaml:4: load_in_4bit: is another tool's name; here it is model.quantize=nf4",
        ),
        (LEAST + "resume_from_checkpoint: x\n", "is a command here: luthier resume RUN"),
        (LEAST + "epochs: 3\n", "r.yaml:4: epochs: is not a setting of a recipe; write training.epochs"),
        (LEAST + "training: {rank: 3}\nmethod: lora\n", "is not a setting of training; write method.rank"),
        (LEAST + "training: {max_length: 64}\n", "is not a setting of training; write task.max_length"),
        (LEAST + "method: xyz\n", f"r.yaml:4: method: no method is called xyz; known: {', '.join(names('methods'))}"),
        (LEAST + "method: {rank: 3}\n", "r.yaml:4: method: a method says its kind, as in {kind: adapter}"),
        (LEAST + "method: [lora]\n", "r.yaml:4: method: a method says its kind, as in {kind: adapter}"),
        (LEAST + "1: 2\n", "r.yaml:4: 1: keys should be strings, not 1"),
        (LEAST + "training: 5\n", "r.yaml:4: training: should be a valid mapping, not 5"),
        (LEAST + "training:\n", "r.yaml:4: training: should be a valid mapping, not null"),
        (LEAST + "training: {epochs: 1, steps: 2}\n", "epochs and steps are both given; a run has one length"),
        (LEAST + "training: {learning_rate: .nan}\n", "should be a finite number or should be 'auto', not nan"),
        (LEAST + "training: {batch_size: 8.0}\n", "training.batch_size: should be a valid integer, not 8.0"),
        (LEAST + "training: {batch_size: true}\n", "training.batch_size: should be a valid integer, not true"),
        (
            LEAST + "training:\n  optimizer: {kind: adamw, betas: [0.9]}\n",
            "r.yaml:5: training.optimizer.betas: has too",
        ),
        (LEAST + "training:\n  optimizer: {kind: adamw, betas: [0.9, 2]}\n", "betas.1: should be less than 1, not 2"),
        (LEAST + "training: {seed: 9999999999}\n", "training.seed: should be less than 2147483648"),
        (LEAST + "output: 2024-01-01\n", "r.yaml:4: output: should be a valid string, not 2024-01-01"),
    ],
)
def test_a_mistake_is_told_in_words(text: str, expected: str) -> None:
    (line,) = mistakes(text)
    assert expected in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LEAST + "model: x\n", 'r.yaml:4: is no YAML: found duplicate key "model"'),
        ("model: [a\nb: 2", "r.yaml:2: is no YAML: "),
        ("\tmodel: x\n", "r.yaml:1: is no YAML: "),
        ("- 1", "r.yaml: a recipe is a mapping (model: ..., data: ..., task: ...), not [1]"),
        ("words", "r.yaml: a recipe is a mapping"),
    ],
)
def test_what_is_no_recipe_is_told_with_its_line(text: str, expected: str) -> None:
    assert mistakes(text)[0].startswith(expected)


def test_an_empty_recipe_is_told_what_it_needs() -> None:
    assert mistakes("") == [f"r.yaml: {name}: is needed, and missing" for name in ("model", "data", "task")]


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    assert mistakes(f"model: !!python/object/apply:os.mknod ['{mark}']\n{LEAST.partition(chr(10))[2]}")
    assert not mark.exists()


def homes(setting: str) -> Iterator[Any]:
    """The fields that a name of ours stands for, in recipes of each task and of each method."""
    *parents, last = setting.partition("=")[0].split(".")
    pairs = [
        *((kind, "lora") for kind in names("tasks")),
        *(("text-classification", kind) for kind in names("methods")),
    ]
    for task, method in pairs:
        part: Any = parse(LEAST.replace("text-classification", task) + f"method: {method}\nsearch: {{}}\n")
        for parent in parents:
            part = getattr(part, parent, None)
        if part is not None and last in type(part).model_fields:
            yield type(part).model_fields[last]


@pytest.mark.parametrize("theirs", OUR_NAMES)
def test_every_name_of_another_tool_leads_to_a_setting_that_is_there(theirs: str) -> None:
    for ours in OUR_NAMES[theirs].split(" and "):
        assert any(homes(ours))


@pytest.mark.parametrize("theirs", INSTEAD)
def test_a_name_that_means_no_setting_is_answered_and_is_no_setting_of_ours(theirs: str) -> None:
    assert mistakes(f"{LEAST}{theirs}: x\n") == [f"r.yaml:4: {theirs}: {INSTEAD[theirs]}"]


def test_a_kind_that_came_is_not_told_to_be_missing() -> None:
    assert not [kind for group, kind in KINDS_INSTEAD if kind in names(group)]
    assert not OUR_NAMES.keys() & INSTEAD.keys()


def test_a_file_is_named_in_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("model: {nam: x}\n")
    with pytest.raises(RecipeError, match=r"^my\.yaml:1: model\.name"):
        read(path)
    with pytest.raises(RecipeError, match=r"there is no such recipe; luthier init writes one"):
        read(tmp_path / "no.yaml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="cannot be read"):
        read(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read(tmp_path)
