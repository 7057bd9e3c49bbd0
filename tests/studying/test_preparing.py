"""What a recipe asks for becomes a search: its space, its budget in units, and what must stay as it is."""

from pathlib import Path

import pytest

from luthier.errors import RecipeError
from luthier.groundwork import read_rows
from luthier.recipe import Recipe, check, parse
from luthier.studying.plan import differences
from luthier.studying.preparing import prepared
from tests.runs import tiny_model, write_rows

RATE = "training.learning_rate"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("search")
    said = {"epochs": 2, "batch_size": 8, "precision": "fp32", "device": "cpu", "learning_rate": 2e-3}
    raw = {
        "model": str(tiny_model(folder / "base")),
        "data": {"train": str(write_rows(folder / "rows.csv", 50)), "validation": 0.2},
        "task": "text-classification",
        "method": "lora",
        "training": said,
        "output": str(folder / "found"),
        "search": {"space": {RATE: {"log": [1e-4, 1e-2]}, "method.rank": {"choice": [4, 16]}}},
    }
    return check(raw)


@pytest.mark.parametrize(
    ("said", "units"),
    [
        ("20 runs", 180),
        ("1.5 runs", 13),
        ("25 steps", 22),  # 40 rows are 5 steps, a run of 2 epochs 10: 2.5 runs of 9 units
        ("5 epochs", 22),
        ("30min", None),  # known when the first rung was timed
    ],
)
def test_a_budget_becomes_units_of_full_runs(recipe: Recipe, said: str, units: int | None) -> None:
    made = prepared(recipe.changed({"search.budget": said}, where="test"), num_workers=2).study.budget
    assert (made.units, made.seconds, made.num_workers) == (units, None if units else 1800.0, 2)


def test_a_budget_of_tokens_counts_those_that_a_run_learns_from(recipe: Recipe) -> None:
    task = read_rows(recipe).task
    rows = read_rows(recipe).splits.train
    tokens = 2 * sum(task.prepare(rows, task.load_processor(recipe.model), training=True)["length"][:])
    made = prepared(recipe.changed({"search.budget": f"{3 * tokens} tokens"}, where="test"))
    assert made.study.budget.units == 27


def test_the_recipes_own_settings_are_the_first_trial(recipe: Recipe) -> None:
    assert prepared(recipe).study.plan.default == {RATE: 2e-3, "method.rank": "16"}


def test_an_auto_space_is_written_out_round_what_the_method_advises(recipe: Recipe) -> None:
    auto = recipe.changed({"search": None, RATE: "auto"}, where="test")
    made = prepared(auto)
    (low, high), names = made.study.plan.space.by_name[RATE].domain.log, set(made.study.plan.space.by_name)  # type: ignore[union-attr]
    assert high == pytest.approx(100 * low)
    assert {RATE, "method.rank", "training.batch_size"} <= names
    assert RATE not in made.study.plan.default  # it is auto: known when trial 0 has begun
    again = parse(made.study.recipe or "")
    assert again.search is not None
    assert again.search.said_space == made.study.plan.space
    assert again.data.cut_seed == 0


def test_other_rows_weights_and_settings_are_another_search(recipe: Recipe, tmp_path: Path) -> None:
    before = prepared(recipe).study.plan.as_json()

    def told(**changes: object) -> list[str]:
        changed = recipe.changed({name.replace("__", "."): value for name, value in changes.items()}, where="test")
        return differences(before, prepared(changed).study.plan.as_json())

    assert told(training__log_every=3, output=str(tmp_path / "elsewhere"), search__budget="3h") == []
    assert told(training__epochs=3) == ["base.training.epochs: was 2.0, is 3.0"]
    assert told(search__seed=1) == ["seed: was 0, is 1"]
    (rows,) = told(data__train=str(write_rows(tmp_path / "rows.csv", 60)))[:1]
    assert rows.startswith("base.train rows: was ")
    assert told(model__name=str(tiny_model(tmp_path / "base", num_hidden_layers=1)))[0].startswith(
        "base.weights model.safetensors"
    )


def test_what_comes_on_top_of_the_budget_is_told(recipe: Recipe) -> None:
    made = prepared(recipe.changed({"search.scheduler": "asha", "search.sampler": "gp"}, where="test"))
    assert made.told == "training.learning_rate, method.rank for f1-macro, within 20 runs (gp, asha)"
    assert made.notes[-1].startswith("afterwards 6 full runs hold the winner against the recipe as it stands")


def test_what_cannot_be_searched_is_told(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="trials are judged by validation rows"):
        prepared(recipe.changed({"data.validation": None}, where="test"))
    with pytest.raises(RecipeError, match=r"less than 0\.11 of a run"):
        prepared(recipe.changed({"search.budget": "1 steps"}, where="test"))
    with pytest.raises(RecipeError, match=r"search\.objectives: blue is none"):
        prepared(recipe.changed({"search.objectives": ["blue"]}, where="test"))
