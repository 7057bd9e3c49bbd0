"""A run that cannot fit is refused or made smaller before its weights are loaded; every other one goes on."""

from pathlib import Path
from typing import Any

import pytest

from luthier import recipe as recipes
from luthier.errors import TrainingError
from luthier.groundwork import Rows, build, read_rows
from luthier.models.blank import read_configuration
from luthier.models.load import Ask
from luthier.planning import guard, stages
from luthier.planning.plan import Room
from luthier.planning.subject import ready, subject_of
from luthier.recipe import Recipe
from luthier.resume import as_begun
from luthier.run import Run
from tests.runs import tiny_model, tiny_run, write_rows
from tests.tiny import tiny, tokenizer


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


def test_a_run_of_which_no_row_fits_computes_its_blocks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, rows = asked(tmp_path)
    memory = peak(recipe, rows, micro_batch_size=1, checkpointing="blocks")
    there_are(memory, monkeypatch)
    changed, (note,) = guard.foresee(recipe, rows)
    assert (changed.training.checkpointing, changed.training.micro_batch_size) == ("blocks", 1)
    assert "once more in backward (training.checkpointing: blocks)" in note
    without, rows = asked(tmp_path, "training.checkpointing=null")
    with pytest.raises(TrainingError, match="luthier plan tells"):
        guard.foresee(without, rows)


def test_a_run_that_just_fits_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, rows = asked(tmp_path)
    there_are(peak(recipe, rows), monkeypatch)
    assert guard.foresee(recipe, rows) == (recipe, [])


def test_what_was_chosen_stands_in_the_runs_recipe_and_stays_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there_are(10_000, monkeypatch)
    monkeypatch.setattr(guard, "fastest", lambda *_: {"checkpointing": "blocks", "micro_batch_size": 4})
    run, records = tiny_run(tmp_path, training={"steps": 2, "batch_size": 8, "precision": "fp32"})
    assert (run.recipe.training.checkpointing, run.recipe.training.micro_batch_size) == ("blocks", 4)
    (note,) = next(record["notes"] for record in records if record["event"] == "model")
    assert note.endswith(
        "so it is computed 4 rows at once (training.micro_batch_size) and its blocks are computed once more in "
        "backward (training.checkpointing: blocks)"
    )
    recipe, _ = asked(tmp_path, "training.checkpointing=null")
    again = as_begun(Run(run.folder), recipe).training
    assert (again.checkpointing, again.micro_batch_size) == (None, 4)


def in_bf16(folder: Path) -> list[str]:
    """Overrides for a base whose file is in bf16."""
    tiny("bert", head="base").bfloat16().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return [f"model={folder}", "method=lora", "training.precision=bf16"]


def test_weights_of_a_file_in_bf16_are_planned_as_they_are_held(tmp_path: Path) -> None:
    recipe, rows = asked(tmp_path, *in_bf16(tmp_path / "narrow"))
    with ready(subject_of(recipe, rows=rows)) as made:
        planned = {name: (tuple(p.shape), p.dtype) for name, p in made.model.named_parameters()}
        whole = stages.loading(made)
    built = build(recipe, rows)
    assert planned == {name: (tuple(p.shape), p.dtype) for name, p in built.model.named_parameters()}
    assert whole is not None
    weights = list(built.model.parameters())
    assert whole.peak >= 4 * sum(p.numel() for p in weights) > sum(p.nbytes for p in weights)
    assert any("frozen weights are held in bf16, as in their file" in note for note in built.notes)
    wide, rows = asked(tmp_path, "method=lora", "training.precision=bf16")
    with ready(subject_of(wide, rows=rows)) as made:
        assert stages.loading(made) is None


def test_weights_that_cannot_even_be_loaded_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, rows = asked(tmp_path, *in_bf16(tmp_path / "narrow"))
    there_are(10_000, monkeypatch)
    with pytest.raises(TrainingError, match=r"when they are loaded and saved, and 10 KB are free; model\.dtype="):
        guard.foresee(recipe, rows)
