"""The recipe of a trial, and the values that a recipe's own settings have in a space."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from luthier.errors import RecipeError
from luthier.recipe import Recipe
from luthier.trials.history import Value, Values
from luthier.trials.space import Space

ALONE = {"search": None, "compare": None}
"""A recipe of one run has neither."""
JUDGED_BY_THE_SEARCH = {
    "training.best": "last",
    "training.patience": None,
    "training.evaluate_every": None,
    "training.score_before": False,
    "training.checkpoint_every": "auto",
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


def values_in(space: Space, recipe: Recipe, known: Values = MappingProxyType({})) -> dict[str, Value]:
    """The values that a recipe has in a space; what lies outside of it is left out.

    With these the recipe stays as it is. `known`: what a recipe had before it was resolved.
    """

    def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return recipe.changed({**changes, **ALONE}, where="search.space").model_dump()
        except RecipeError:  # it is none of the options, then
            return {}

    return space.standing(recipe.model_copy(update=ALONE).model_dump(), changed, known)
