"""A search from its recipe to its page: prepared, followed, concluded."""

from collections.abc import Iterator
from pathlib import Path

from luthier.errors import RunError
from luthier.interrupt import Stop
from luthier.recipe import Recipe
from luthier.run import Record
from luthier.studying.concluding import conclude
from luthier.studying.preparing import prepared
from luthier.studying.standing import Standing
from luthier.studying.study import follow


def search(
    recipe: Recipe,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    stop: Stop | None = None,
    has_page: bool = True,
    keeps_budget: bool = False,
) -> Iterator[Record]:
    """Search the settings of a recipe until the budget is spent; -> what happens, as records.

    With `keeps_budget`, a search that goes on has the budget that it had, whatever the recipe says by now.
    The last record, `searched`, holds what was found, as it is also in the folder's search.json. Raises RecipeError
    where the recipe cannot be searched, RunError where the folder cannot be taken or nothing can work, DataError where
    rows are missing or broken, Interrupted where it was stopped.
    """
    folder = Path(recipe.output)
    if (folder / "log.jsonl").is_file():
        raise RunError(f"{folder}: is a run, not a search; choose another output")
    made = prepared(recipe, num_workers=num_workers, keeps_budget=keeps_budget)
    yield {"event": "plan", "told": made.told, "notes": made.notes}
    standing: Standing | None = None
    for record in follow(made.study, resume=resume, overwrite=overwrite, stop=stop):
        standing = record.get("standing", standing)
        yield record
    assert standing is not None
    yield from conclude(made.recipe, standing, folder, has_page=has_page)
