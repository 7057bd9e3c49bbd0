"""What the commands of `luthier search` do: read the line, call the library, show what came out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from luthier.commands import chosen_recipe
from luthier.errors import RecipeError, RunError


def search_recipe(
    recipe: str | None,
    overrides: Sequence[str],
    options: Mapping[str, str | None],
    *,
    num_workers: int,
    overwrite: bool,
    resume: bool,
    has_page: bool,
) -> None:
    """Search, show what happens, and say what it bought."""
    if overwrite and resume:
        raise RecipeError("search: --overwrite begins anew and --resume goes on; say one of them")
    chosen = chosen_recipe(recipe, overrides, options)
    from luthier.interrupt import Stop
    from luthier.studying.concluding import BEST, PAGE
    from luthier.studying.shown import Screen
    from luthier.studying.whole import search

    is_said = options["search.budget"] is not None or any(each.startswith("search.budget=") for each in overrides)
    how = {"overwrite": overwrite, "resume": resume, "has_page": has_page, "keeps_budget": not is_said}
    with Stop().listening() as stop, Screen() as screen:
        for record in search(chosen, num_workers=num_workers, stop=stop, **how):
            screen.show(record)
    folder = Path(chosen.output)
    lines = {"page": folder / PAGE} if has_page else {}
    if (folder / BEST).is_file():
        lines |= {"recipe": folder / BEST, "next": f"luthier train {folder / BEST}"}  # type: ignore[dict-item]
    screen.console.print()
    for what, told in lines.items():
        screen.console.print(f"[bold]{what:<9}[/] {told}")


def tell_status(folder: Path, *, as_json: bool) -> None:
    """Trials and what is left, on the screen or as JSON."""
    from luthier import files
    from luthier.studying.figures import told_standing
    from luthier.studying.opening import look
    from luthier.studying.shown import print_summary, print_trials

    _, standing = look(folder)
    if as_json:
        print(json.dumps(files.plain(told_standing(standing)), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    print_summary(standing, console)
    console.print()
    print_trials(standing, console)


def tell_best(folder: Path, *, as_json: bool) -> None:
    """The winner beside the recipe as it stands; where final runs are done, by their test rows too."""
    from luthier import files
    from luthier.report.words import number
    from luthier.studying.figures import told_trial
    from luthier.studying.opening import look
    from luthier.studying.words import told_settings

    _, standing = look(folder)
    best, default = standing.best, standing.default
    if best is None:
        raise RunError(f"{folder}: there is no winner; luthier search status {folder} tells what there is")
    told: dict[str, Any] = {"best": told_trial(standing, best)}
    told["default"] = told_trial(standing, default) if default else None
    told["verdict"], told["conclusions"] = _concluded(folder)
    if as_json:
        print(json.dumps(files.plain(told), indent=2))
        return
    for name, trial in {"best": best, **({"default": default} if default and default != best else {})}.items():
        rung = trial.last
        if rung is None:
            continue
        scores = ", ".join(f"{g.name} {number(g.score(v))}" for g, v in zip(standing.goals, rung.values, strict=True))
        place = f"{trial.resource}/{standing.terms.horizon} of a run"
        print(f"{name:<9} trial {trial.number}: {scores} after {place}, on the validation rows")
        print(f"{'':<9} {told_settings(standing.space, trial.values)}")
    for sentence in told["conclusions"]:
        print(f"\n{sentence}")
    print(f"\nnext      luthier search export {folder} -o best.yaml")


def _concluded(folder: Path) -> tuple[Any, list[str]]:
    """What the end of a search wrote; nothing where it has none yet."""
    from luthier.studying.concluding import RESULT

    path = folder / RESULT
    if not path.is_file():
        return None, []
    told = json.loads(path.read_text(encoding="utf-8"))
    return told["verdict"], told["conclusions"]


def export_best(folder: Path, output: Path) -> None:
    """The winner's recipe as a file; nothing is overwritten."""
    if output.exists():
        raise RecipeError(f"{output}: exists; choose another name")
    from luthier.recipe import dump
    from luthier.studying.concluding import best_recipe
    from luthier.studying.opening import look

    recipe, standing = look(folder)
    found = best_recipe(recipe, standing, folder)
    if found is None:
        raise RunError(f"{folder}: there is no winner; luthier search status {folder} tells what there is")
    output.write_text(dump(found), encoding="utf-8")
    print(f"Wrote {output}. Next: luthier train {output}")
