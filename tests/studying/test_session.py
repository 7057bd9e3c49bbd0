"""Trials on tiny models: pausing changes nothing, and what trials share stays as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from luthier.errors import LuthierError
from luthier.recipe import Recipe, check
from luthier.studying.session import Session
from luthier.tasks import Task
from luthier.trials.history import Trial, Values
from luthier.trials.space import Space
from tests.runs import tiny_model, write_rows

SPACE = {
    "method": {
        "choice": [
            {"kind": "lora", "rank": {"choice": [2, 4]}},
            {"kind": "partial", "train": ["last-1", "head"]},
            {"kind": "partial", "train": ["head"]},
            {"kind": "full"},
        ]
    },
    "training.learning_rate": {"log": [1e-4, 1e-1]},
}
LORA = {"method": "lora", "method=lora:method.rank": "4", "training.learning_rate": 1e-2}
LAST = {"method": "partial-2", "training.learning_rate": 1e-2}
HEAD = {"method": "partial-3", "training.learning_rate": 1e-2}
FULL = {"method": "full", "training.learning_rate": 3e-3}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("search")
    return check(
        {
            "model": str(tiny_model(folder / "base")),
            "data": {"train": str(write_rows(folder / "rows.csv")), "validation": 0.3},
            "task": "text-classification",
            "training": {"epochs": 3, "batch_size": 8, "precision": "fp32", "device": "cpu"},
            "output": str(folder / "run"),
            "search": {"space": SPACE, "objectives": ["accuracy", "loss"]},
        }
    )


def session(recipe: Recipe, folder: Path) -> Session:
    return Session(recipe, Space.of(SPACE), folder, study="one")


def performed(made: Session, number: int, values: Values, *stops: int) -> list[tuple[float, ...]]:
    """A trial from rung to rung; what it scored at each."""
    found = []
    rungs: tuple[Any, ...] = ()
    for until in stops:
        judged = made.perform(Trial(number, values, "running", until, rungs=rungs), until)
        rungs = (*rungs, judged.rung)
        found.append(judged.rung.values)
    return found


def weights(made: Session) -> dict[str, Tensor]:
    assert made._at_work is not None
    return {name: p.detach().clone() for name, p in made._at_work.built.model.named_parameters()}


@pytest.mark.parametrize("values", [LORA, LAST, HEAD, FULL])
def test_a_trial_that_is_paused_and_restored_comes_to_the_same_weights(
    values: Values, recipe: Recipe, tmp_path: Path
) -> None:
    calm = session(recipe, tmp_path / "calm")
    expected = performed(calm, 1, values, 9)
    in_memory = session(recipe, tmp_path / "memory")
    assert performed(in_memory, 1, values, 1, 3, 9)[-1:] == expected
    first, rungs = session(recipe, tmp_path / "apart"), []
    for until in (1, 3, 9):
        made = first if until == 1 else session(recipe, tmp_path / "apart")  # a worker of its own each time
        performed(made, 2, {**LORA, "training.learning_rate": 5e-3}, 1)  # another trial was there before
        rungs.append(made.perform(Trial(1, values, "running", until, rungs=tuple(rungs)), until).rung)
    assert [rungs[-1].values] == expected
    for found in (in_memory, made):
        assert all(torch.equal(tensor, weights(calm)[name]) for name, tensor in weights(found).items())


def test_trials_share_rows_tokens_base_and_frozen_states_and_leave_the_base_as_it_was(
    recipe: Recipe, tmp_path: Path
) -> None:
    made = session(recipe, tmp_path)
    made.perform(Trial(0, HEAD, "running", 1), 1)
    (base,) = made.shelf._bases.values()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    for number, values in enumerate((LORA, LAST, HEAD, FULL, HEAD), 1):
        made.perform(Trial(number, values, "running", 3), 3)
    assert (made.shelf.num_loaded, made.shelf.num_read, made.shelf.num_prepared) == (1, 1, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert len(made.shelf.stores._parts) == 2  # of the head alone, and of the last block


def test_a_tokenizer_is_loaded_once_unless_the_method_adds_words(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    original = Task.load_processor
    monkeypatch.setattr(Task, "load_processor", lambda *args: loaded.append(1) or original(*args))
    made = session(recipe, tmp_path)
    for number, values in enumerate((LORA, LAST, HEAD, LORA)):
        made.perform(Trial(number, values, "running", 1), 1)
    assert len(loaded) == 1
    adds = recipe.changed({"method": {"kind": "lora", "add_tokens": ["<one>"]}, "search": None}, where="test")
    for _ in range(2):
        built = made.shelf.built(adds, made.shelf.rows(adds))
        assert "<one>" in built.processor.get_vocab()
    assert len(loaded) == 3
    assert made._at_work is not None
    assert "<one>" not in made._at_work.built.processor.get_vocab()


def test_trials_that_swap_places_come_to_what_each_comes_to_alone(recipe: Recipe, tmp_path: Path) -> None:
    alone = [performed(session(recipe, tmp_path / str(n)), n, v, 1, 3) for n, v in enumerate((LORA, LAST, FULL))]
    made, rungs = session(recipe, tmp_path / "together"), {}
    for until in (1, 3):
        for number, values in enumerate((LORA, LAST, FULL)):
            trial = Trial(number, values, "running", until, rungs=rungs.get(number, ()))
            rungs[number] = (*trial.rungs, made.perform(trial, until).rung)
    assert [[rung.values for rung in rungs[number]] for number in range(3)] == alone


def test_a_promotion_costs_the_difference_only(recipe: Recipe, tmp_path: Path) -> None:
    made = session(recipe, tmp_path)
    first = made.perform(Trial(3, LORA, "running", 1), 1)
    other = session(recipe, tmp_path)
    second = other.perform(Trial(3, LORA, "running", 3, rungs=(first.rung,)), 3)
    assert (first.facts["step"], second.facts["step"]) == (3, 8)  # of 24: a ninth and a third
    assert other._at_work is not None
    assert other._at_work.records is not None
    assert second.rung.seconds > first.rung.seconds


def test_the_recipe_as_it_stands_has_its_values_filled_in(recipe: Recipe, tmp_path: Path) -> None:
    judged = session(recipe, tmp_path).perform(Trial(0, {}, "running", 1), 1)
    assert judged.values == {"method": "full", "training.learning_rate": pytest.approx(5e-5, rel=10)}


def test_a_learning_rate_that_breaks_a_trial_is_told(recipe: Recipe, tmp_path: Path) -> None:
    broken = recipe.changed({"training.learning_rate": 1e30, "search": None}, where="test")
    made = Session(broken.model_copy(update={"search": recipe.search}), Space(()), tmp_path, study="one")
    with pytest.raises(LuthierError, match=r"no finite number|is nan"):
        made.perform(Trial(0, {}, "running", 9), 9)


def test_what_a_trial_left_can_be_removed(recipe: Recipe, tmp_path: Path) -> None:
    made = session(recipe, tmp_path)
    made.perform(Trial(5, LORA, "running", 1), 1)
    assert list((tmp_path / "trials" / "5").glob("step-*"))
    made.forget(5)
    assert not (tmp_path / "trials" / "5").exists()
