"""A search's folder, opened to look at, or to learn from."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from luthier.errors import RecipeError, RunError
from luthier.recipe import Recipe, read
from luthier.searching.settings import Search
from luthier.studying.database import url_of
from luthier.studying.plan import Plan, differences
from luthier.studying.standing import Standing
from luthier.studying.store import Store
from luthier.studying.study import RECIPE, standing
from luthier.trials.history import Trial
from luthier.trials.space import Space

COMPARABLE = ("goals", "constraints", "horizon", "eta")
"""Parts of a plan by which trials are judged."""
OWN = "search"
"""What a database in the search's own folder calls it."""


def name_of(search: Search, folder: Path) -> str:
    """What its storage calls a search: on a server, where there are others, its folder's name."""
    return OWN if search.storage is None else folder.resolve().name


def opened(folder: Path) -> tuple[Recipe, Store]:
    """A search's recipe and its store.

    Raises RunError where the folder holds none.
    """
    path = folder / RECIPE
    recipe = read(path) if path.is_file() else None
    if recipe is None or recipe.search is None:
        raise RunError(f"{folder}: holds no search; luthier search RECIPE begins one")
    return recipe, Store.open(url_of(recipe.search.storage, folder), name_of(recipe.search, folder))


def look(folder: Path) -> tuple[Recipe, Standing]:
    """A search's recipe, and how it stands; it may be at work meanwhile."""
    recipe, store = opened(folder)
    with closing(store):
        return recipe, standing(store, store.snapshot())


def earlier_trials(folders: Sequence[str], plan: Plan) -> tuple[Trial, ...]:
    """The trials of earlier searches that a sampler can learn from: judged, and with values that the space has.

    Raises RecipeError where one was judged by something else or at other places, RunError where there is none.
    """
    found = list[Trial]()
    for folder in folders:
        _, store = opened(Path(folder))
        with closing(store):
            before = store.plan
            if any(getattr(before, name) != getattr(plan, name) for name in COMPARABLE):
                raise RecipeError(
                    f"search.warm_start: {folder} has other objectives, constraints, rungs or eta, so its scores say "
                    "nothing here"
                )
            if told := differences(before.base, plan.base):
                raise RecipeError(
                    f"search.warm_start: {folder} was of something else, so its scores say nothing: {told[0]}"
                )
            found += [trial for trial in store.snapshot().history.trials if _is_known(trial, plan.space)]
    return tuple(found)


def _is_known(trial: Trial, space: Space) -> bool:
    names = {parameter.name for parameter in space.active(trial.values)}
    if not trial.rungs or set(trial.values) != names:
        return False
    return all(_holds(space, name, trial) for name in names)


def _holds(space: Space, name: str, trial: Trial) -> bool:
    domain, value = space.by_name[name].domain, trial.values[name]
    labels = getattr(domain, "labels", None)
    return str(value) in labels if labels is not None else domain.value_of(value) is not None
