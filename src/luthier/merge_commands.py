"""What the commands of `luthier merge` do: read the line, call the library, show what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
        from luthier.merging.evaluating import evaluate_merge
        from luthier.merging.shown import print_scores

        print_scores(evaluate_merge(folder, evaluate))


def _recipe(
    what: str, models: Sequence[str], settings: Mapping[str, Sequence[Any] | None], said: Mapping[str, str | None]
) -> Any:
    from luthier.merging.reading import from_options, read

    given = {name: list(map(str, values)) for name, values in settings.items() if values and name != "set"}
    for pair in settings.get("set") or ():
        name, equals, value = str(pair).partition("=")
        if not equals:
            raise MergeError(f"merge: --set {pair} is no setting; write it as name=value, as in scale=0.7")
        given.setdefault(name, []).append(value)
    if not what.endswith(RECIPE_ENDS):
        options = {name: value for name, value in said.items() if value is not None and name != "base"}
        return from_options(what, list(models), base=said["base"], **given, **options)
    if given or said["base"] or said["style"]:
        raise MergeError(
            f"merge: {what} says models and settings; --base, --weight and their like stand without a file"
        )
    recipe = read(Path(what))
    return recipe if said["dtype"] is None else replace(recipe, dtype=said["dtype"])


def _output(what: str, models: Sequence[str], output: Path | None, written: str | None) -> Path | None:
    if what.endswith(RECIPE_ENDS):
        if len(models) > 1 or (models and output is not None):
            raise MergeError("merge: after a recipe comes one output, as in luthier merge recipe.yaml merged/")
        output = Path(models[0]) if models else output
    return output or (Path(written) if written else None)


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
