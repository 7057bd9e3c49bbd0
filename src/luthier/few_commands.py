"""What the commands for few labelled rows do: score against examples per class, and which rows to label next."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.commands import chosen_recipe, write_csv
from luthier.errors import DataError, RecipeError


def curve_recipe(
    recipe: str | None,
    overrides: Sequence[str],
    options: Mapping[str, str | None],
    sizes: str | None,
    *,
    splits: int,
    **how: bool,
) -> None:
    """Run a recipe with few rows of each label, then with more, and say what still more would buy."""
    if how["overwrite"] and how["resume"]:
        raise RecipeError("curve: --overwrite begins anew and --resume goes on; say one of them")
    chosen = chosen_recipe(recipe, overrides, options)
    from rich.console import Console

    from luthier.curves.curve import PAGE, curve
    from luthier.curves.grid import read_sizes
    from luthier.curves.shown import show

    console = Console(highlight=False, soft_wrap=True)
    asked = None if sizes is None else read_sizes(sizes)
    for record in curve(chosen, sizes=asked, num_splits=splits, **how):
        show(record, console)
    console.print(f"\n[bold]page[/]      {Path(chosen.output) / PAGE}")


def suggest_rows(folder: str, file: str, number: int, output: Path | None, device: str) -> None:
    """The rows that are most worth labelling, on the screen or in a file to fill in."""
    from luthier.run import Run

    if output is not None and output.suffix not in (".csv", ".jsonl"):
        raise DataError(f"suggest: {output} is neither .csv nor .jsonl")
    if output is not None and output.exists():
        raise DataError(f"suggest: {output} exists, perhaps with labels in it; choose another name")
    run = Run.open(folder)
    from luthier.report.suggested import print_suggestions
    from luthier.suggesting import SEPARATOR, as_rows, suggest

    found, notes = suggest(run, file, number=number, device=device)
    for note in notes:
        print(note, file=sys.stderr)
    if output is None:
        print_suggestions(found)
        return
    if output.suffix == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in as_rows(found))
        output.write_text("".join(lines), encoding="utf-8")
    else:
        write_csv(output, as_rows(found, getattr(run.recipe.task, "label_separator", None) or SEPARATOR))
    print(f"Wrote {len(found)} rows to {output}. Next: fill in the column label, and add them to the training rows")
