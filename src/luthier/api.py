"""Luthier from Python: the same recipe, given as arguments."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.component import Component
from luthier.errors import MergeError
from luthier.pipeline import follow
from luthier.recipe import Recipe, check, read
from luthier.run import Record, Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from luthier.studying.concluding import Found

    States = Mapping[str, Tensor] | nn.Module

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


def search(
    recipe: Recipe | str | Path,
    *,
    budget: str | None = None,
    num_workers: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    on_record: Callable[[Record], object] | None = None,
) -> "Found":
    """Find the best settings of a recipe, or of one in a file, that a budget buys; -> the winner's recipe, and how much
    better it is.

    `budget` stands in place of the recipe's, as "20 runs", "30min" or "5000 steps"; with `resume`, in place of what the
    search had. Raises LuthierError.
    """
    from luthier.studying.whole import search as follow_search

    asked = recipe if isinstance(recipe, Recipe) else read(recipe)
    if budget is not None:
        asked = asked.changed({"search.budget": budget}, where="search")
    found: Any = None
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "keeps_budget": budget is None}
    for record in follow_search(asked, num_workers=num_workers, **how):
        found = record.get("found", found)
        if on_record is not None:
            on_record(record)
    result: Found = found
    return result


def load(folder: str | Path) -> Run:
    """Open a finished run; `.predict([...])` then answers.

    Raises RunError where there is none.
    """
    return Run.open(folder)


def merge(
    models: "Sequence[str | Path | States]",
    *,
    method: str = "linear",
    base: "str | Path | States | None" = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    on_record: Callable[[dict[str, Any]], object] | None = None,
    **settings: Any,
) -> "Path | dict[str, Tensor]":
    """Make one model of several: of folders a folder, of state dicts or modules a state dict.

    `settings` are the method's, as `weight=[0.6, 0.4]`; of folders also `dtype`, `tokenizer` and `style`. Raises
    LuthierError.
    """
    if not models:
        raise MergeError("merge: no models are given")
    paths = [model for model in (*models, *([] if base is None else [base])) if isinstance(model, str | Path)]
    if not paths:
        return _merge_states(models, method, base, settings)  # type: ignore[arg-type]
    if len(paths) < len(models) + (base is not None):
        raise MergeError("merge: models are folders, or state dicts in memory; not some of each")
    if output is None:
        raise MergeError("merge: say where the merged folder goes, as output=FOLDER")
    from luthier.merging.making import How, make
    from luthier.merging.recipes.reading import from_options

    said: dict[str, Any] = {name: _words(value) for name, value in settings.items()}
    recipe = from_options(method, [str(model) for model in models], base=None if base is None else str(base), **said)
    for record in make(recipe, Path(output), How(overwrite=overwrite)):
        if on_record is not None:
            on_record(record)
    return Path(output)


def _merge_states(
    models: "Sequence[States]", method: str, base: "States | None", settings: Mapping[str, Any]
) -> "dict[str, Tensor]":
    from pydantic import ValidationError
    from torch import nn

    from luthier.merging.methods import merge_of
    from luthier.merging.tensors import merge_states

    def states(model: "States") -> "Mapping[str, Tensor]":
        return model.state_dict() if isinstance(model, nn.Module) else model

    try:
        made = merge_of(method).model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise MergeError(f"merge: {method}: {where}: {first['msg']}") from None
    return merge_states([states(each) for each in models], made, base=None if base is None else states(base))


def _words(value: Any) -> str | list[str]:
    """A setting as a command line says it."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)
