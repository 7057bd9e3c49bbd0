"""A curve: for each size and each split a run of its own, in a process of its own, all judged by the same rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier import files
from luthier.curves.grid import Cell, Grid, grid
from luthier.curves.outlook import outlook
from luthier.curves.page import page
from luthier.curves.points import JUDGED, Result, Scale, points, result
from luthier.curves.words import conclusions
from luthier.errors import LuthierError, RecipeError, RunError
from luthier.recipe import Recipe, dump
from luthier.report.evidence import Evidence
from luthier.run import Record, Run
from luthier.several import take, train_alone

RESULT, PAGE = "curve.json", "curve.html"
SPLITS = 5


def curve(
    recipe: Recipe,
    *,
    sizes: Sequence[int] | None = None,
    num_splits: int = SPLITS,
    overwrite: bool = False,
    resume: bool = False,
    keep_models: bool = False,
) -> Iterator[Record]:
    """Run the recipe with few rows of each label, as many as `sizes` say; -> what happens, as records.

    The last record is the result, as it is also in the folder's curve.json. A run's weights go once it is judged,
    unless they are to be kept. Raises RecipeError where rows have no classes or no run came to its end, RunError where
    the folder cannot be taken, DataError where rows are missing or broken: that is told once.
    """
    folder, plan = Path(recipe.output), grid(recipe, sizes, num_splits)
    take(folder, what="curve", result=RESULT, overwrite=overwrite, resume=resume)
    cells = list(plan.cells())
    _write_recipes(plan, cells, folder, overwrite=overwrite)
    yield {"event": "plan", "sizes": plan.sizes, "splits": num_splits, "of": len(cells), "notes": plan.notes}
    results, refused = list[Result](), dict[str, str]()
    for number, cell in enumerate(cells, 1):
        if number > len(plan.sizes) and not results:
            break  # a whole split was refused: so would the others be
        yield {"event": "run", "name": cell.name, "number": number, "of": len(cells)}
        try:
            results.append(_result(cell, folder, overwrite=overwrite, keep_models=keep_models))
        except LuthierError as error:
            refused[cell.name] = str(error)
            yield {"event": "refused", "name": cell.name, "reason": str(error)}
    if not results:
        raise RecipeError(f"curve: no run came to its end; {'; '.join(f'{n}: {r}' for n, r in refused.items())}")
    yield _concluded(folder, results, refused)


def _write_recipes(plan: Grid, cells: Sequence[Cell], folder: Path, *, overwrite: bool) -> None:
    """Each run's recipe beside its folder; runs that are there go, where the curve begins anew.

    Raises RunError where some are of another recipe: what is done would not be done again, and not be comparable.
    """
    for cell in cells:
        kept, text = folder / f"{cell.name}.yaml", dump(plan.recipe_of(cell))
        if overwrite and (folder / cell.name / "log.jsonl").is_file():
            files.discard(folder / cell.name)
        elif not overwrite and kept.is_file() and kept.read_text(encoding="utf-8") != text:
            raise RunError(f"{kept}: is of another recipe; go on with the settings that were, or say --overwrite")
        files.write_text(kept, text)


def _result(cell: Cell, folder: Path, *, overwrite: bool, keep_models: bool) -> Result:
    """What a run came to, trained where it is not done.

    Raises LuthierError where it could not be trained or judged, Interrupted where it was stopped.
    """
    run = Run(folder / cell.name)
    if run.is_done:
        return result(cell, Run.open(run.folder))
    train_alone(folder / f"{cell.name}.yaml", command="curve", overwrite=overwrite)
    found = result(cell, Run.open(run.folder))
    if not keep_models:
        for weights in (run.model_folder, run.adapter_folder):
            files.discard(weights)
    return found


def _concluded(folder: Path, results: Sequence[Result], refused: Mapping[str, str]) -> Record:
    run = Run.open(folder / results[0].cell.name)
    scale, num_rows = Scale.of(run), Evidence.of(run).rows[JUDGED]
    found = points(results, scale)
    ahead = outlook(found, scale)
    told = conclusions(found, ahead, scale, num_rows)
    kept: dict[str, Any] = {
        **asdict(scale),
        "num_rows": num_rows,
        "points": [asdict(point) for point in found],
        "outlook": asdict(ahead),
        "refused": dict(refused),
        "conclusions": told,
    }
    files.write_json(folder / RESULT, files.plain(kept))
    files.write_text(folder / PAGE, page(folder.resolve().name, found, ahead, scale, refused, told))
    return {"event": "curve", "found": found, "ahead": ahead, **kept}
