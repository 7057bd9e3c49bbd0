"""Whatever stands in a recipe's file, a recipe comes of it or a RecipeError: 5,000 mutations of good ones, seeded."""

import copy
import json
import random
from typing import Any

import pytest

from luthier.errors import DataError, RecipeError
from luthier.other_names import INSTEAD, OUR_NAMES
from luthier.recipe import Recipe, dump, parse

BLOCKS = 20
"""Parts that the cases are told in, so that a failure names its seed; each has 125 of either sort."""
CASES = 125

TEXT = """\
model: {name: some/model, dtype: auto}
data:
  train: a.csv  # rows
  columns: {text: body}
task: {kind: text-classification, labels: [a, b], max_length: 64}
method:
  kind: lora
  targets: all-linear
training: {epochs: 2, learning_rate: 1e-4, optimizer: {kind: adamw, betas: [0.9, 0.99]}}
output: runs/x
"""
WHOLE: dict[str, Any] = {
    "model": {"name": "m", "dtype": "auto", "attention": "auto"},
    "data": {"train": "a.csv", "validation": 0.1, "test": None, "columns": {"text": "body"}},
    "task": {"kind": "text-classification", "labels": ["a", "b"], "class_weights": [1.0, 2.0]},
    "method": {"kind": "lora", "rank": 8, "targets": ["q_proj"]},
    "training": {"steps": 5, "optimizer": {"kind": "sgd"}, "schedule": {"kind": "linear", "warmup": 0.1}},
    "output": "runs/x",
}
ODD_TEXT = (
    *"{}[]:,#&*!|>'\"%@`-?~\t\n\r\0\x1b\x85\u2028\ufeff\ud800\U0001f600",
    *("<<: ", "!!python/object:x ", "&a ", "*a ", "- ", "---\n", "...\n", "%YAML 1.1\n", "? ", ": ", "|+2\n"),
    *("0o9", "0x", "1e999", "-.inf", ".nan", "2024-99-99", "2024-01-01T25:61:61Z", "1:60:60", "9" * 400, "=", "~"),
)  # fmt: skip
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**400, 1e308, -0.0, 5e-324, float("nan"), float("inf"), "", " ", "\0", "\ud800"),
    *("auto", "null", "1", "lora", "qlora", "../../x", "package:os/x", "https://u:p@h/x", "x" * 5000, [], {}, [[]]),
    *([None], {"kind": None}, {"kind": 5}, {"kind": "lora"}, {"kind": ["lora"]}, {"": {}}, {"kind": "_peft"}),
    *({"kind": "__init__"}, {"kind": "../recipe"}, {"kind": "methods.lora"}, ["a"] * 300),
)  # fmt: skip

PATHS = ("model", "method.rank", "task.kind", "training.optimizer.betas", "output.x", "a.b.c", ".")


def tried(text: str, overrides: tuple[str, ...] = ()) -> bool:
    """Whether a recipe came of it; all but a RecipeError goes up. What came can be written and read again.

    `task: auto` looks at the data, which is not there: that is told too.
    """
    try:
        recipe = parse(text, overrides)
    except (RecipeError, DataError):
        return False
    assert isinstance(recipe, Recipe)
    assert parse(dump(recipe)) == recipe
    return True


def mutated_text(chance: random.Random) -> str:
    text = TEXT
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 1, 1, 3, 20)))
        lines = text.splitlines(keepends=True) or [""]
        text = chance.choice(
            (
                text[:start] + chance.choice(ODD_TEXT) + text[end:],
                text[:start] + text[end:],
                text[:start] + text[start:end] * chance.choice((2, 50)) + text[end:],
                text[:start],
                "".join(chance.sample(lines, len(lines))),
            )
        )
    return text


def mutated_whole(chance: random.Random) -> Any:
    whole = json.loads(json.dumps(WHOLE))
    for _ in range(chance.randint(1, 3)):
        target: Any = whole
        while isinstance(target, dict) and target and chance.random() < 0.7:
            inner = target[chance.choice(list(target))]
            if not isinstance(inner, dict | list):
                break
            target = inner
        if isinstance(target, dict):
            keys = [*target, chance.choice([*OUR_NAMES, *INSTEAD]), "kind", "", "rank", "a.b"]
            target[chance.choice(keys)] = copy.deepcopy(chance.choice(ODD))
            if chance.random() < 0.3:
                target.pop(chance.choice(list(target)))
        elif isinstance(target, list):
            target.insert(0, copy.deepcopy(chance.choice(ODD)))
    return whole


@pytest.mark.parametrize("seed", range(BLOCKS))
def test_a_mutated_text_gives_a_recipe_or_a_recipe_error(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(CASES):
        text = mutated_text(chance)
        try:
            tried(text)
        except Exception as error:
            raise AssertionError(f"of the recipe {text!r} came {error!r}") from error


@pytest.mark.parametrize("seed", range(BLOCKS))
def test_mutated_settings_give_a_recipe_or_a_recipe_error(seed: int) -> None:
    chance = random.Random(1000 + seed)
    for _ in range(CASES):
        text = json.dumps(mutated_whole(chance), default=str)
        path = chance.choice(PATHS)
        odd = chance.choice(ODD_TEXT)
        overrides = (f"{path}={odd}",) if chance.random() < 0.2 else ()
        try:
            tried(text, overrides)
        except Exception as error:
            raise AssertionError(f"of the recipe {text!r} with {overrides!r} came {error!r}") from error


def test_the_recipes_that_are_mutated_are_good() -> None:
    assert tried(TEXT)
    assert tried(json.dumps(WHOLE))
