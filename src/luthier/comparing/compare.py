"""A comparison: each variant is a run of its own, in a process of its own, one after the other."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier import files
from luthier.comparing.outcome import Outcome, outcome, ranked
from luthier.comparing.pace import within
from luthier.comparing.page import page
from luthier.comparing.variants import variants
from luthier.comparing.words import conclusions
from luthier.errors import LuthierError, RecipeError
from luthier.groundwork import read_rows
from luthier.recipe import Recipe, dump
from luthier.run import Record, Run
from luthier.several import take, train_alone

RESULT, PAGE = "compare.json", "compare.html"


def compare(
    recipe: Recipe, *, seconds: float | None = None, overwrite: bool = False, resume: bool = False
) -> Iterator[Record]:
    """Run every variant, for as long as the recipe says or each for so many seconds; -> what happens, as records.

    The last record is the result, as it is also in the folder's compare.json. Raises RecipeError where a variant is no
    recipe, RunError where the folder cannot be taken, DataError where rows are missing or broken: that is told once.
    """
    folder, asked = Path(recipe.output), variants(recipe)
    read_rows(next(iter(asked.values())))
    take(folder, what="comparison", result=RESULT, overwrite=overwrite, resume=resume)
    outcomes, refused = list[Outcome](), dict[str, str]()
    for number, (name, variant) in enumerate(asked.items(), 1):
        yield {"event": "variant", "name": name, "number": number, "of": len(asked)}
        try:
            _run(name, variant, folder, seconds, overwrite=overwrite)
            outcomes.append(outcome(name, Run.open(folder / name)))
        except LuthierError as error:
            refused[name] = str(error)
            yield {"event": "refused", "name": name, "reason": str(error)}
    yield _concluded(folder, outcomes, refused, seconds)


def _run(name: str, variant: Recipe, folder: Path, seconds: float | None, *, overwrite: bool) -> None:
    """Train a variant, for the seconds where some are said.

    Raises LuthierError where it could not be trained, Interrupted where it was stopped.
    """
    kept = folder / f"{name}.yaml"
    if seconds is None:
        files.write_text(kept, dump(variant))
    elif overwrite or not kept.is_file():  # steps that were timed once stay what they are
        files.write_text(kept, dump(within(variant, seconds)))
    train_alone(kept, command="compare", overwrite=overwrite)


def _concluded(folder: Path, outcomes: list[Outcome], refused: dict[str, str], seconds: float | None) -> Record:
    ranking = ranked(outcomes, folder)
    num_rows = len(Run.open(folder / ranking[0].name).predictions(ranking[0].split)) if ranking else 0
    result: dict[str, Any] = {
        "seconds": seconds,
        "num_rows": num_rows,
        "variants": [asdict(each) for each in ranking],
        "refused": refused,
        "conclusions": conclusions(ranking, num_rows),
    }
    files.write_json(folder / RESULT, result)
    files.write_text(folder / PAGE, page(folder.resolve().name, ranking, refused, result["conclusions"]))
    if not ranking:
        raise RecipeError(f"compare: no variant came to its end; {'; '.join(f'{n}: {r}' for n, r in refused.items())}")
    return {"event": "compared", "ranking": ranking, **result}
