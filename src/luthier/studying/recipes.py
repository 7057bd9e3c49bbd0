"""The recipe of a trial, and the values that a recipe's own settings have in a space."""

from collections.abc import Mapping
from typing import Any

from luthier.recipe import Recipe
from luthier.trials.domains import Choice, is_domain
from luthier.trials.history import Value, Values
from luthier.trials.space import ALSO, Parameter, Space

ALONE = {"search": None, "compare": None}
"""A recipe of one run has neither."""
JUDGED_BY_THE_SEARCH = {
    "training.best": "last",
    "training.patience": None,
    "training.evaluate_every": None,
    "training.score_before": False,
}
"""A trial is judged at its rungs, and there as it is."""


def with_values(recipe: Recipe, space: Space, values: Values) -> Recipe:
    """The recipe of a run with these values; without any, the recipe as it stands.

    Raises RecipeError where that is no recipe.
    """
    return recipe.changed({**space.settings(values), **ALONE}, where="search.space")


def of_trial(recipe: Recipe, space: Space, values: Values, output: str) -> Recipe:
    """The recipe that a trial trains by.

    Raises RecipeError where that is no recipe.
    """
    return with_values(recipe, space, values).changed({**JUDGED_BY_THE_SEARCH, "output": output}, where="search")


def values_in(space: Space, recipe: Recipe) -> dict[str, Value]:
    """The values that a resolved recipe has in a space; what lies outside of it is left out."""
    said = recipe.model_dump()
    found: dict[str, Value] = {}
    for parameter in space.parameters:
        if all(found.get(name) == label for name, label in parameter.under):
            value = _value(parameter, _at(said, parameter.path))
            if value is not None:
                found[parameter.name] = value
    return found


def _at(said: Any, path: str) -> Any:
    for key in path.split("."):
        said = said.get(key) if isinstance(said, Mapping) else None
    return said


def _value(parameter: Parameter, setting: Any) -> Value | None:
    domain = parameter.domain
    if isinstance(domain, Choice) and isinstance(setting, Mapping):
        options = zip(domain.labels, domain.choice, strict=True)
        return next((label for label, option in options if _is_of(setting, option)), None)
    return domain.value_of(setting)


def _is_of(setting: Mapping[str, Any], option: Any) -> bool:
    """Whether a component's settings are those that an option says; what is searched below it may be anything."""
    said = {"kind": option} if isinstance(option, str) else option
    if not isinstance(said, Mapping):
        return False
    plain = {key: value for key, value in said.items() if key != ALSO and not is_domain(value)}
    return all(setting.get(key) == (tuple(v) if isinstance(v, list) else v) for key, v in plain.items())
