"""Luthier from Python: the same recipe, given as arguments."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luthier.component import Component
from luthier.pipeline import follow
from luthier.recipe import Recipe, check
from luthier.run import Record, Run

Setting = Component | Mapping[str, Any] | str


def tune(
    *,
    model: Setting,
    data: Setting,
    task: Setting = "auto",
    method: Setting = "full",
    training: Setting | None = None,
    output: str | Path = "runs/run",
    overwrite: bool = False,
    resume: bool = False,
    on_record: Callable[[Record], object] | None = None,
) -> Run:
    """Fine-tune a model; each argument is a part of the recipe, as a component, a mapping, or its shortest form.

    A plain name is enough for `model`, `data` (the training rows), `task` and `method`. With `resume`, a run that is
    there already goes on where it was left. `on_record` is called with every record of the log as it is written.
    Raises LuthierError.
    """
    raw: dict[str, Any] = {
        "model": model,
        "data": data,
        "task": task,
        "method": method,
        "output": str(output),
    }
    if training is not None:
        raw["training"] = training
    return train(check(raw, "tune"), overwrite=overwrite, resume=resume, on_record=on_record)


def train(
    recipe: Recipe,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_record: Callable[[Record], object] | None = None,
) -> Run:
    """Run a recipe to its end, from its beginning or, with `resume`, from where it was left."""
    for record in follow(recipe, overwrite=overwrite, resume=resume):
        if on_record is not None:
            on_record(record)
    return Run.open(recipe.output)


def load(folder: str | Path) -> Run:
    """Open a finished run; `.predict([...])` then answers.

    Raises RunError where there is none.
    """
    return Run.open(folder)
