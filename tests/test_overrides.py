"""`key.path=value`: what is set, what another kind drops, and what is said of a bad one."""

import itertools
from typing import Any

import pytest

from luthier.errors import RecipeError
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.recipe import Recipe, parse
from luthier.training.optimizers.sgd import SGD

FILE = """\
model: some/model
data: {train: a.csv}
task: text-classification
method: {kind: lora, rank: 4, alpha: 8.0}
training:
  epochs: 3
  seed: 1
"""


def after(*overrides: str) -> Recipe:
    return parse(FILE, overrides, source="r.yaml")


def refusal(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        after(*overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("training.epochs=5", "training.epochs", 5.0),
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),
        ("training.learning_rate=auto", "training.learning_rate", "auto"),
        ("training.batch_size=1_000", "training.batch_size", 1000),
        ("training.max_grad_norm=null", "training.max_grad_norm", None),
        ("training.max_grad_norm=", "training.max_grad_norm", None),
        ("training.optimizer.kind=sgd", "training.optimizer", SGD()),
        ("training.optimizer=sgd", "training.optimizer", SGD()),
        ("training.optimizer={kind: sgd, momentum: 0.5}", "training.optimizer", SGD(momentum=0.5)),
        ("method.targets=[query, value]", "method.targets", ("query", "value")),
        ("method.targets=query", "method.targets", ("query",)),
        ("method.rank=8", "method", Lora(rank=8, alpha=8.0)),
        ("method=lora", "method", Lora()),
        ("method=full", "method", Full()),
        ("method.kind=full", "method", Full()),
        ("method.kind=lora", "method", Lora(rank=4, alpha=8.0)),
        ("data.columns.text=body", "data.columns", {"text": "body"}),
        ("data.validation=dev.csv", "data.validation", "dev.csv"),
        ("data.validation=0.2", "data.validation", 0.2),
        ("model.dtype=bfloat16", "model.dtype", "bfloat16"),
        ("model=other/model", "model.name", "other/model"),
        ("task.threshold=0.4", "task.threshold", 0.4),
        ("task.labels=[yes, no]", "task.labels", ("yes", "no")),
        ("output=runs/a=b", "output", "runs/a=b"),
    ],
)
def test_a_setting_is_set(override: str, setting: str, value: Any) -> None:
    part: Any = after(override)
    for key in setting.split("."):
        part = getattr(part, key)
    assert part == value


def test_nothing_else_is_changed() -> None:
    recipe = after("training.seed=7")
    assert recipe.training.epochs == 3
    assert recipe.method == Lora(rank=4, alpha=8.0)
    assert recipe.model.name == "some/model"
    assert after("model.dtype=bfloat16").model.name == "some/model"


@pytest.mark.parametrize("kind", ["training.optimizer.kind=sgd", "training.optimizer=sgd"])
def test_a_kind_comes_before_its_settings_in_whatever_order_they_are_typed(kind: str) -> None:
    for order in itertools.permutations([kind, "training.optimizer.momentum=0.5", "training.seed=3"]):
        assert after(*order).training.optimizer == SGD(momentum=0.5)


def test_another_kind_drops_the_old_ones_settings() -> None:
    assert after("method.kind=partial", "method.train=[last-2]").method.train == ("last-2",)


def test_the_last_one_counts() -> None:
    assert after("training.seed=2", "training.seed=5").training.seed == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "training.epochs: an override reads key.path=value, as in training.epochs=5"),
        ("=3", "=3: an override reads key.path=value"),
        ("training.epochs=[1", "training.epochs=[1:1: is no YAML"),
        ("training.epochs.x=1", "training.epochs.x=1: epochs is 3, which has no settings"),
        ("training.epoch=1", "r.yaml: training.epoch: unknown setting of training; did you mean epochs?"),
        ("trainin.epochs=1", "r.yaml: trainin: unknown setting of a recipe; did you mean training?"),
        ("method.lora_r=1", "method.lora_r: is another tool's name; here it is method.rank"),
        ("method.kind=ful", "method: no method is called ful; did you mean full?"),
    ],
)
def test_a_bad_override_is_told_in_words(override: str, message: str) -> None:
    assert message in refusal(override)


def test_a_value_that_was_overridden_is_not_looked_for_in_the_file() -> None:
    assert refusal("training.epochs=x") == "r.yaml: training.epochs: should be a valid number, not 'x'"
    assert refusal("method=xyz").startswith("r.yaml: method: no method is called xyz")
