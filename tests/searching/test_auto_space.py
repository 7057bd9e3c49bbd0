"""The usual space of every method holds the recipe itself and valid recipes alone."""

import random
from typing import Any

import pytest

from luthier.component import Facts, names
from luthier.recipe import Recipe, parse
from luthier.searching.auto_space import auto_space
from luthier.trials.domains import Log
from luthier.trials.space import Space
from tests.contracts.kinds import all_of, kind_of

LEAST = "model: m\ndata: a.csv\ntask: text-classification\n"
every_method = pytest.mark.parametrize("method", all_of("methods"), ids=kind_of)


def recipe_of(method: Any, *overrides: str) -> Recipe:
    return parse(LEAST, overrides).changed({"method": {"kind": method.kind(), **method.model_dump()}}, where="test")


def space_of(recipe: Recipe) -> Space:
    advised = recipe.method.learning_rate(Facts(num_parameters=100_000_000))
    return Space.of(auto_space(recipe.method, recipe.training, advised=advised))


@every_method
def test_every_point_of_it_is_a_valid_recipe(method: Any) -> None:
    recipe = recipe_of(method)
    space = space_of(recipe)
    draw = random.Random(0)
    for _ in range(3):
        values = space.values([draw.random() for _ in space.parameters])
        found = recipe.changed(space.settings(values), where="test")
        assert found.training.learning_rate == values["training.learning_rate"]
        assert found.method.kind() == method.kind()


@every_method
def test_the_recipe_with_the_advised_learning_rate_lies_in_it(method: Any) -> None:
    recipe = recipe_of(method)
    advised = recipe.method.learning_rate(Facts(num_parameters=100_000_000))
    recipe = recipe.changed({"training.learning_rate": advised}, where="test")
    space = space_of(recipe)

    def changed(changes: Any) -> Any:
        return recipe.changed(changes, where="test").model_dump()

    standing = space.standing(recipe.model_dump(), changed)
    assert space.is_whole(standing)
    assert space.units(standing)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("method", "num_parameters", "least", "most"),
    [
        ("full", 3_000_000_000, 1e-6, 1e-4),
        ("full", 110_000_000, 2e-6, 2e-4),
        ("lora", 3_000_000_000, 2e-5, 2e-3),
        ("adapter", 110_000_000, 3e-5, 3e-3),
        ("ia3", 3_000_000_000, 5e-4, 5e-2),
        ("prefix", 3_000_000_000, 5e-4, 5e-2),
    ],
)
def test_the_learning_rate_spans_a_decade_to_each_side_of_the_advised_one(
    method: str, num_parameters: int, least: float, most: float
) -> None:
    recipe = parse(LEAST, [f"method={method}"])
    advised = recipe.method.learning_rate(Facts(num_parameters=num_parameters))
    rate = Space.of(auto_space(recipe.method, recipe.training, advised=advised)).by_name["training.learning_rate"]
    assert isinstance(rate.domain, Log)
    assert rate.domain.log == pytest.approx((least, most))


def test_a_learning_rate_of_ones_own_widens_the_range() -> None:
    recipe = parse(LEAST, ["method=lora", "training.learning_rate=1e-2"])
    space = auto_space(recipe.method, recipe.training, advised=2e-4)
    assert space["training.learning_rate"]["log"] == pytest.approx([2e-5, 1e-1])


def test_choices_are_those_around_the_recipes_own() -> None:
    recipe = parse(LEAST, ["method=lora", "method.rank=12", "training.batch_size=48", "training.schedule.warmup=0.3"])
    space = auto_space(recipe.method, recipe.training, advised=2e-4)
    assert space["method.rank"] == {"choice": [4, 8, 12, 16, 32, 64]}
    assert space["training.batch_size"] == {"choice": [24, 48, 96]}
    assert space["training.schedule.warmup"] == {"uniform": [0.0, 0.3]}


def test_what_would_do_nothing_or_cost_more_is_not_searched() -> None:
    head = parse(LEAST, ["method={kind: partial, train: head}"])
    assert not any(path.startswith("method.") for path in auto_space(head.method, head.training, advised=1e-2))
    steps = parse(LEAST, ["training.steps=100"])
    assert "training.batch_size" not in auto_space(steps.method, steps.training, advised=1e-5)


@pytest.mark.parametrize("method", names("methods"))
def test_neither_seed_nor_length_is_searched(method: str) -> None:
    recipe = parse(LEAST, [f"method={method}"])
    space = auto_space(recipe.method, recipe.training, advised=1e-4)
    assert not {"training.seed", "training.epochs", "training.steps", "method.alpha"} & space.keys()
    assert recipe.changed({"search": {"space": space}}, where="test").search is not None
