"""The recipe: one YAML file, read into checked objects, with errors that say where and what to do.

`model`, `data` and `task` are needed; everything else has a default. `key.path=value` overrides a setting. A run
keeps its resolved recipe, every default written out, so that running it again repeats the run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from luthier import recipe_yaml
from luthier.component import Component, Facts, Slot
from luthier.data.source import DataSource
from luthier.errors import RecipeError
from luthier.methods import Method
from luthier.models.source import ModelSource
from luthier.recipe_errors import explain
from luthier.searching.said_space import at_their_places, refused
from luthier.searching.settings import Search
from luthier.tasks import Task
from luthier.training.settings import Training

AUTO = "auto"
"""In place of a task's kind: the one that rows and model speak for."""
SPACE = "search.space."
_CREDENTIALS = re.compile(r"://[^/\s@]+@")
"""A user, a password or a token in an address."""
_IN_PLACE_OF_A_TOKEN = "hf auth login or the environment variable HF_TOKEN gives it to the hub"
_IN_PLACE_OF_A_PASSWORD = "the environment variables PGUSER and PGPASSWORD, or ~/.pgpass, give it to PostgreSQL"


class Recipe(Component):
    """Everything a run is made of."""

    model: ModelSource
    """The pretrained model to start from."""
    data: DataSource
    """The rows to learn from and to be judged by."""
    task: Annotated[Task, Slot("tasks", chosen=AUTO)]
    """What is asked of the model."""
    method: Annotated[Method, Slot("methods")] = Field("full", validate_default=True)
    """What is learnt, and what stays frozen."""
    training: Training = Field(default_factory=Training)
    """How it is learnt."""
    output: str = "runs/run"
    """Folder of the run."""
    compare: dict[str, dict[str, Any]] | None = None
    """What luthier compare puts side by side: by its name, the settings that are changed in each, as
    {method: lora, training.learning_rate: 1e-3}; null: the usual methods. A run by itself passes it over."""
    search: Search | None = None
    """What luthier search looks for, and how; as it stands, the recipe is its first trial. A run by itself passes it
    over."""
    _notes: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _every_trial_is_a_recipe(self) -> Self:
        space = self.search.said_space if self.search is not None else None
        if space is not None:
            raw = self.model_dump(exclude={"search"})
            if found := refused(space, lambda changes: _refusal(raw, changes)):
                raise at_their_places(found, ("search", "space"))
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user while the recipe was read."""
        return self._notes

    def resolve(self, facts: Facts) -> Self:
        method = self.method.resolve(facts)
        task = self.task.resolve(facts)
        rate, num_steps = method.learning_rate(facts), method.num_steps(facts)
        couples_rows = method.stage(task).task.couples_rows
        facts = replace(facts, learning_rate=rate, num_steps=num_steps, couples_rows=couples_rows)
        training = self.training.resolve(facts)
        if self.model.dtype == "bfloat16" and training.precision != "bf16":
            raise RecipeError(f"model.dtype: bfloat16 needs training.precision bf16, not {training.precision}")
        return self.model_copy(update={"method": method, "task": task, "training": training, "search": None})

    def changed(self, changes: Mapping[str, Any], *, where: str) -> "Recipe":
        """The recipe with other settings, by their key paths.

        Raises RecipeError, told under `where`, where that is no recipe.
        """
        raw = self.model_dump()
        for path in sorted(changes, key=_depth):
            _set(raw, path, changes[path], f"{where}: {path}")
        return check(raw, where)


def _refusal(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> str | None:
    """What is wrong with a recipe in plain objects after changes, if anything is."""
    changed = deepcopy(dict(raw))
    try:
        for path in sorted(changes, key=_depth):
            _set(changed, path, changes[path], path)
        Recipe.model_validate(changed)
    except ValidationError as error:
        return explain(error, Recipe, changed, "").replace("\n", "; ")
    except RecipeError as error:
        return str(error)
    return None


def read(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, with overrides `key.path=value`.

    Raises RecipeError, with every mistake of the recipe at once.
    """
    path = Path(path)
    try:
        recipe_yaml.require_short(path.stat().st_size, path.name)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such recipe; luthier init writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    return parse(text, overrides, source=path.name)


def parse(text: str, overrides: Sequence[str] = (), *, source: str = "recipe") -> Recipe:
    """The recipe in a YAML text."""
    raw = recipe_yaml.load(text, source)
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise RecipeError(f"{source}: a recipe is a mapping (model: ..., data: ..., task: ...), not {raw!r}")
    for override in sorted(overrides, key=_depth):
        _override(raw, override)
    return check(raw, source)


def check(raw: dict[str, Any], source: str = "recipe") -> Recipe:
    """The recipe in plain objects, as YAML or keyword arguments give them."""
    for place, text in _texts(raw):
        if _CREDENTIALS.search(text):
            raise RecipeError(
                f"{source}: {place}: an address holds a password or token, and a recipe is kept beside its results; "
                f"leave it out: {_IN_PLACE_OF_A_PASSWORD if place == 'search.storage' else _IN_PLACE_OF_A_TOKEN}"
            )
    try:
        if _is_auto(raw.get("task")):
            return _with_task(raw)
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe, raw, source)) from None


def _is_auto(task: Any) -> bool:
    return task == AUTO or (isinstance(task, dict) and task.get("kind") == AUTO)


def _with_task(raw: dict[str, Any]) -> Recipe:
    """The recipe with the task that its rows and its model speak for; its other mistakes are told first."""
    asked = raw["task"] if isinstance(raw["task"], dict) else {}
    least = Recipe.model_validate({**raw, "task": "text-classification", "search": None})
    from luthier.choosing import choose_task

    choice = choose_task(least.model, least.data)
    recipe = Recipe.model_validate({**raw, "task": {**asked, "kind": choice.kind}})
    recipe._notes = (choice.note,)
    return recipe


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text of plain objects, keys too, with its place."""
    if isinstance(value, str):
        yield place, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, each in inner:
        yield place, str(key)
        yield from _texts(each, f"{place}.{key}".lstrip("."))


def dump(recipe: Recipe) -> str:
    """The recipe as YAML."""
    return recipe_yaml.dump(recipe.model_dump())


def _override(raw: dict[str, Any], override: str) -> None:
    """Set one setting in place: `training.epochs=5`, `method=lora`, `method.rank=8`."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise RecipeError(f"{override}: an override reads key.path=value, as in training.epochs=5")
    _set(raw, path, recipe_yaml.load(text, override) if text else None, override)


def _set(raw: dict[str, Any], path: str, value: Any, told: str) -> None:
    """Set one setting in place; `told` opens the message where it has no place."""
    *parents, last = _keys(path)
    target = raw
    for key in parents:
        inner = target.get(key)
        if inner is None or (key == "space" and inner == AUTO):
            inner = {}
        elif isinstance(inner, str):
            inner = {_shorthand(key): inner}
        elif not isinstance(inner, dict):
            raise RecipeError(f"{told}: {key} is {inner!r}, which has no settings")
        target[key] = inner
        target = inner
    if last == "kind" and target.get("kind") not in (None, value):
        target.clear()  # another kind has other settings
    target[last] = value
    marks: Any = getattr(target, "lc", None)
    if marks is not None and marks.data:
        marks.data.pop(last, None)  # it stands in no line of the file any more


def _keys(path: str) -> list[str]:
    """The keys of a path; those of the search's space are paths themselves."""
    if path.startswith(SPACE):
        return [*SPACE.split(".")[:-1], path.removeprefix(SPACE)]
    return path.split(".")


def _depth(override: str) -> int:
    """Kinds before their settings, in whatever order they were typed: another kind drops the old one's settings."""
    return override.partition("=")[0].removesuffix(".kind").count(".")


def _shorthand(key: str) -> str:
    """The setting that a plain word stands for: `model: x` is `model: {name: x}`, `method: lora` is its kind."""
    part = Recipe.model_fields[key].annotation if key in Recipe.model_fields else None
    return part.shorthand or "kind" if isinstance(part, type) and issubclass(part, Component) else "kind"
