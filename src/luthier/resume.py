"""Going on with a run: only with the recipe, the rows and the base model it was begun with, or when told to.

Other versions and devices are let through with a word: results may differ in rounding.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from luthier.errors import RunError
from luthier.recipe import Recipe, dump
from luthier.run import Run

FREE = {
    *("training.log_every", "training.checkpoint_every", "training.keep_checkpoints", "training.device"),
    "training.max_nan_steps",  # without it, a run that met such a step could not go on at all
}
"""Settings that change nothing of what was learnt so far."""
FORESEEN = ("micro_batch_size", "checkpointing")
"""Settings of training that are chosen by the memory that is free when a run begins."""


def as_begun(run: Run, recipe: Recipe) -> Recipe:
    """The recipe with what was chosen of these at the run's beginning, where it leaves them open."""
    before, now = run.recipe.training, recipe.training
    chosen = {name: getattr(before, name) for name in FORESEEN if getattr(now, name) == "auto"}
    return recipe.model_copy(update={"training": now.model_copy(update=chosen)})


def compare(run: Run, recipe: Recipe, environment: Mapping[str, Any], *, accept_changes: bool) -> list[str]:
    """What differs from the run's beginning, in words.

    Raises RunError where it would change what is learnt and is not accepted.
    """
    before = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))
    changes = [*_settings(run.recipe, recipe), *_contents(before, environment)]
    names = run.recipe.model.name, recipe.model.name
    if before["model_sha256"] is None and names[0] != names[1]:  # of the hub: its content is not known here
        changes.append(f"model.name was {names[0]}, now it is {names[1]}")
    if changes and not accept_changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise RunError(
            f"{run.folder}: this is not what the run was begun with:\n{listed}\n"
            "Put it back, say --accept-changes to go on all the same, or --overwrite to begin anew"
        )
    return [*(f"accepted: {change}" for change in changes), *_surroundings(before, environment)]


def identity(run: Run, recipe: Recipe, environment: Mapping[str, Any]) -> dict[str, Any]:
    """What every checkpoint of a run says of it."""
    digest = hashlib.sha256(dump(recipe).encode()).hexdigest()
    return {"id": run.id, "recipe_sha256": digest, "data_sha256": environment["data_sha256"]}


def _settings(before: Recipe, now: Recipe) -> Iterator[str]:
    """Data and a model's files are known by their content, wherever they lie."""
    old, new = _flat(before.model_dump(exclude={"data", "output"})), _flat(now.model_dump(exclude={"data", "output"}))
    for path in sorted(old.keys() | new.keys()):
        if path not in FREE and path != "model.name" and old.get(path) != new.get(path):
            yield f"{path} was {old.get(path, 'not there')}, now it is {new.get(path, 'not there')}"


def _contents(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for split in sorted(before["data_sha256"].keys() | now["data_sha256"].keys()):
        if before["data_sha256"].get(split) != now["data_sha256"].get(split):
            yield f"the {split} rows have changed"
    if before["model_sha256"] != now["model_sha256"]:
        yield "the base model's weights have changed"


def _surroundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for part in ("versions", "device"):
        for name, value in now[part].items():
            if before[part].get(name) != value:
                yield f"{name} was {before[part].get(name)}, now it is {value}; results may differ in rounding"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under their key paths."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
        found.update(inner)
    return found
