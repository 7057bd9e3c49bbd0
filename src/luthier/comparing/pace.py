"""How many steps each variant takes in the same time: a few of its own are timed first."""

from statistics import median

from luthier.groundwork import read_rows
from luthier.planning.measuring import measure
from luthier.recipe import Recipe


def within(recipe: Recipe, seconds: float) -> Recipe:
    """The recipe with as many steps as it can do in so many seconds of training, one at least.

    Raises LuthierError where the run could not begin.
    """
    timed = median(measure(recipe, read_rows(recipe)))
    steps = max(1, round(seconds / timed))
    return recipe.changed({"training.steps": steps, "training.epochs": None}, where="compare")
