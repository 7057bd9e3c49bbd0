"""What the commands of `luthier merge` do: read the line, call the library, show what came out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from luthier import recipe_yaml
from luthier.errors import MergeError

RECIPE_ENDS = (".yaml", ".yml")


def merge_models(
    what: str,
    models: Sequence[str],
    output: Path | None,
    settings: Mapping[str, Sequence[Any] | None],
    said: Mapping[str, str | None],
    takes: Mapping[str, Any],
    *,
    only_plan: bool,
    evaluate: Sequence[str],
) -> None:
    """Merge by a recipe's file, or by a kind and its options."""
    from luthier.merging.making import facts, make, prepare
    from luthier.merging.shown import Screen, print_plan

    recipe = _recipe(what, models, settings, said)
    folder = _output(what, models, output, recipe.output)
    how = _how(takes)
    if only_plan:
        plan, _ = prepare(recipe)
        print_plan(recipe, facts(plan, how))
        return
    if folder is None:
        raise MergeError("merge: say where the merged model goes, with --output FOLDER")
    with Screen() as screen:
        for record in make(recipe, folder, how):
            screen.show(record)
    if evaluate:
        _print_scores(folder, recipe.models, evaluate)


def _recipe(
    what: str, models: Sequence[str], settings: Mapping[str, Sequence[Any] | None], said: Mapping[str, str | None]
) -> Any:
    from luthier.merging.recipes.reading import from_options, read

    given = {name: list(map(str, values)) for name, values in settings.items() if values and name != "set"}
    for pair in settings.get("set") or ():
        name, value = _pair(str(pair))
        if name in (*said, "statistics", "output", "kind", "models", "chat_template"):
            raise MergeError(f"merge: --set {name}: is no setting of a kind; say --{name}, or write it in a recipe")
        given.setdefault(name, []).append(value)
    if not what.endswith(RECIPE_ENDS):
        options = {name: value for name, value in said.items() if value is not None and name != "base"}
        asked: dict[str, Any] = {**given, **options}
        return from_options(what, list(models), base=said["base"], **asked)
    if given or any(said.values()):
        raise MergeError(f"merge: {what} says models and settings; --base, --weight and their like go without a file")
    return read(Path(what))


def _output(what: str, models: Sequence[str], output: Path | None, written: str | None) -> Path | None:
    if what.endswith(RECIPE_ENDS):
        if len(models) > 1 or (models and output is not None):
            raise MergeError("merge: after a recipe comes one output, as in luthier merge recipe.yaml merged/")
        output = Path(models[0]) if models else output
    return output or (Path(written) if written else None)


def _print_scores(folder: Path, parents: Sequence[str], tasks: Sequence[str]) -> None:
    """Parents and child on every task, each under the head of the task's run."""
    from luthier.merging.parents.opened import open_models
    from luthier.merging.scoring.scores import Bench, side_by_side, table

    opened = open_models([*parents, str(folder)])
    bench = Bench(tasks, split="test", model=folder)
    found = side_by_side(bench, {each.checkpoint.label: each.checkpoint for each in opened.values()})
    Console(highlight=False, soft_wrap=True).print(table(bench, found))


def _how(takes: Mapping[str, Any]) -> Any:
    from luthier.merging.making import How
    from luthier.planning.amounts import read_amount

    asked = {
        "memory": read_amount(takes["memory"], where="--memory"),
        "shard_bytes": read_amount(takes["shard"], where="--shard"),
        "overwrite": takes["overwrite"],
        "is_checked": takes["check"],
    }
    return How(**asked, **({"num_threads": takes["threads"]} if takes["threads"] else {}))


def inspect_models(models: Sequence[str], base: str, density: float, *, as_json: bool, page: Path | None) -> None:
    """Figures on the screen, as JSON, or as a page."""
    from luthier.merging.inspecting.inspect import inspect
    from luthier.merging.inspecting.page import page as written
    from luthier.merging.inspecting.shown import show
    from luthier.merging.parents.opened import open_models

    opened = open_models([*models, base])
    found = inspect([opened[name].checkpoint for name in models], base=opened[base].checkpoint, density=density)
    if page is not None:
        page.write_text(written(found), encoding="utf-8")
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        show(found, Console(highlight=False, soft_wrap=True))
        if page is not None:
            print(f"page      {page}")


def search_merge(
    models: Sequence[str],
    base: str | None,
    runs: Sequence[str],
    output: Path,
    how: Mapping[str, Any],
    *,
    limit: int | None,
    resume: bool,
) -> None:
    """Candidates as they are judged, and what they bought."""
    from luthier.merging.scoring.scores import Bench
    from luthier.merging.searching.models import Models
    from luthier.merging.searching.search import RECIPE, Asked, search
    from luthier.merging.searching.shown import show

    console = Console(highlight=False, soft_wrap=True)
    bench, held = Bench(runs, limit=limit), Models.open(models, base=base)
    output.mkdir(parents=True, exist_ok=True)
    for record in search(held, bench, Asked(**how), folder=output, resume=resume):
        show(record, console)
    console.print(f"\n[bold]recipe[/]    {output / RECIPE}\n[bold]next[/]      luthier merge {output / RECIPE} merged/")


def merge_adapters(
    kind: str, folders: Sequence[Path], output: Path, asked: Mapping[str, Any], *, on_factors: bool, overwrite: bool
) -> None:
    """Several LoRAs into one; one alone is scaled."""
    from luthier.merging.adapters.combine import Combination, combine
    from luthier.merging.adapters.scale import scale
    from luthier.merging.adapters.truncate import Keep

    weights = tuple(asked["weight"] or (1.0,))
    if len(folders) == 1 and kind == "concatenate" and len(weights) == 1:
        _tell(scale(folders[0], output, factor=weights[0], overwrite=overwrite))
        return
    on, keep = "factors" if on_factors else "product", Keep(asked["rank"], asked["energy"])
    settings = {name: recipe_yaml.load(value, "--set") for name, value in map(_pair, asked["set"] or ())}
    how = Combination(kind, weights=weights, on=on, keep=keep, settings=settings)  # type: ignore[arg-type]
    _tell(combine(folders, output, combination=how, overwrite=overwrite))


def extract_adapter(
    model: str, base: str, output: Path, rank: int | None, energy: float | None, whole: str, *, overwrite: bool
) -> None:
    """A LoRA of the difference of two models."""
    from luthier.merging.adapters.extract import extract
    from luthier.merging.adapters.truncate import Keep
    from luthier.merging.parents.opened import open_models

    opened = open_models([model, base])
    kept: Any = whole if whole in ("none", "head", "changed") else whole.split(",")
    keep = Keep(rank, energy) if rank or energy else None
    found = extract(
        opened[model].checkpoint, opened[base].checkpoint, output, keep=keep, modules_to_save=kept, overwrite=overwrite
    )
    _tell(found)


def gather_statistics(run: str, output: Path, what: Any, num_rows: int, device: str) -> None:
    """A pass over a run's training rows."""
    from luthier.merging.statistics import gather

    console = Console(highlight=False, soft_wrap=True)
    with console.status("reading") as status:
        num = gather(
            run, output, what, num_rows=num_rows, device=device, on_row=lambda n, of: status.update(f"row {n} of {of}")
        )
    console.print(f"[bold]gathered[/]  {what} of {num} rows: {output}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise MergeError(f"merge: --set {text} is no setting; write it as name=value, as in scale=0.7")
    return name, value


def _tell(report: Any) -> None:
    for line in report.lines():
        print(line)
    print(f"adapter   {report.folder}")
