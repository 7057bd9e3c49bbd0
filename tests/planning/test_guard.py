"""A run that cannot fit is refused or made smaller before its weights are loaded; every other one goes on."""

from pathlib import Path
from typing import Any

import pytest

from luthier import recipe as recipes
from luthier.errors import TrainingError
from luthier.groundwork import Rows, read_rows
from luthier.models.blank import read_configuration
from luthier.models.load import Ask
from luthier.planning import guard, stages
from luthier.planning.plan import Room
from luthier.planning.subject import ready, subject_of
from luthier.recipe import Recipe
from tests.runs import tiny_model, write_rows


def asked(folder: Path, *overrides: str) -> tuple[Recipe, Rows]:
    model, rows = tiny_model(folder / "base"), write_rows(folder / "rows.csv")
    said = [f"model={model}", f"data.train={rows}", "task=text-classification", "training.precision=fp32"]
    recipe = recipes.parse("", [*said, "training.micro_batch_tokens=null", *overrides])
    return recipe, read_rows(recipe)


def there_are(amount: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "room_of", lambda device, memory: Room(amount))


def peak(recipe: Recipe, rows: Rows, **training: Any) -> int:
    with ready(subject_of(recipe, rows=rows).of(training=training)) as made:
        return stages.training(made).peak


def test_a_run_far_from_the_limit_is_not_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "subject_of", None)
    there_are(10**12, monkeypatch)
    recipe, rows = asked(tmp_path)
    assert guard.foresee(recipe, rows) == (recipe, [])


def test_the_rough_count_is_never_below_the_rehearsed_one(tmp_path: Path) -> None:
    recipe, rows = asked(tmp_path)
    settings = read_configuration(recipe.model, Ask.of(rows.task))
    assert (guard.rough(recipe, rows, settings) or 0) > peak(recipe, rows)


def test_a_run_that_cannot_fit_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there_are(10_000, monkeypatch)
    with pytest.raises(TrainingError, match=r"takes \d.*MB, and 10 KB are free; luthier plan tells"):
        guard.foresee(*asked(tmp_path))


def test_a_refused_run_goes_on_where_the_recipe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there_are(10_000, monkeypatch)
    recipe, rows = asked(tmp_path, "training.require_memory=false")
    assert guard.foresee(recipe, rows) == (recipe, [])


def test_a_run_that_fits_in_smaller_pieces_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, rows = asked(tmp_path)
    there_are(peak(recipe, rows, micro_batch_size=8), monkeypatch)
    changed, (note,) = guard.foresee(recipe, rows)
    assert changed.training.micro_batch_size == 8
    assert "8 rows at once" in note


def test_a_run_that_cannot_be_rehearsed_goes_on_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    there_are(10_000, monkeypatch)
    monkeypatch.setattr(guard, "subject_of", breaks)
    recipe, rows = asked(tmp_path)
    same, (note,) = guard.foresee(recipe, rows)
    assert same == recipe
    assert "could not be rehearsed (ZeroDivisionError)" in note


def test_weights_that_are_not_here_are_not_guessed(tmp_path: Path) -> None:
    recipe, rows = asked(tmp_path)
    settings = read_configuration(recipe.model, Ask.of(rows.task))
    for file in (tmp_path / "base").glob("*.safetensors"):
        file.unlink()
    assert guard.rough(recipe, rows, settings) is None
