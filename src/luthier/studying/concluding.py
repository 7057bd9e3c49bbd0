"""The end of a search: final runs, the verdict, and what is written: search.json, best.yaml, search.html."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luthier import files
from luthier.recipe import Recipe, dump
from luthier.run import Record
from luthier.studying.figures import told_standing, told_trial
from luthier.studying.importance import Importance, importance
from luthier.studying.page import page
from luthier.studying.standing import Standing
from luthier.studying.verdict import Verdict
from luthier.studying.winner import recipe_of, train_finals
from luthier.studying.words import conclusions

RESULT, PAGE, BEST = "search.json", "search.html", "best.yaml"


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    folder: Path
    standing: Standing
    recipe: Recipe | None
    """The winner's, as one to train; None where there is no winner."""
    verdict: Verdict | None
    """None where nothing was trained in full, or no rows judge it."""
    importance: Importance
    conclusions: tuple[str, ...]


def conclude(recipe: Recipe, standing: Standing, folder: Path, *, has_page: bool = True) -> Iterator[Record]:
    """Train winner and default in full, as often as the recipe says; the last record, `searched`, holds a Found."""
    assert recipe.search is not None
    best, verdict = standing.best, None
    won = best_recipe(recipe, standing, folder)
    if won is not None and best is not None:
        files.write_text(folder / BEST, dump(won))
        default = None if best.number == 0 else recipe_of(recipe, standing.space, {})
        metric, num = standing.goal.name, recipe.search.replicates
        if num:
            for record in train_finals(won, default, folder, replicates=num, metric=metric):
                verdict = record.get("verdict", verdict)
                yield record
    shares = importance(standing, seed=recipe.search.seed)
    told = conclusions(standing, verdict, shares)
    found = Found(folder, standing, won, verdict, shares, tuple(told))
    files.write_json(folder / RESULT, files.plain(as_json(found)))
    if has_page:
        files.write_text(folder / PAGE, page(folder.resolve().name, standing, verdict, shares, told))
    yield {"event": "searched", "found": found, "verdict": verdict, "conclusions": told}


def best_recipe(recipe: Recipe, standing: Standing, folder: Path) -> Recipe | None:
    """The winner's recipe as one to train, beside the search; None where there is no winner."""
    best = standing.best
    if best is None:
        return None
    values = {} if best.number == 0 else best.values
    own = recipe_of(recipe, standing.space, values)
    return own.changed({"output": str(folder / "best")}, where="search")


def as_json(found: Found) -> dict[str, Any]:
    """As search.json holds it; scores are as people know them, not turned."""
    standing = found.standing
    verdict = found.verdict
    return {
        "best": told_trial(standing, standing.best) if standing.best else None,
        "front": [trial.number for trial in standing.front] if len(standing.goals) > 1 else None,
        "verdict": {**asdict(verdict), "outcome": verdict.outcome} if verdict else None,
        "importance": asdict(found.importance),
        "conclusions": list(found.conclusions),
        **told_standing(standing),
    }
