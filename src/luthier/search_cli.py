"""The commands of `luthier search`: thin, no logic. What is no command's name is a recipe's file."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.default_command import DefaultCommand


class _Group(DefaultCommand):
    """`luthier search recipe.yaml ...` is `luthier search run recipe.yaml ...`."""

    default = "run"


search_app = typer.Typer(
    name="search",
    cls=_Group,
    no_args_is_help=True,
    help="Find the best settings that a budget buys: luthier search RECIPE.yaml --budget 30min --workers 2.",
)

Folder = Annotated[Path, typer.Argument(help="Folder of a search.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write it as JSON.")]


@search_app.command()
def run(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model and --data.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value, as search.seed=1.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, folder, or package:NAME/PATH.")] = None,
    data: Annotated[str | None, typer.Option(help="Training rows: file, folder of class folders, hub id ...")] = None,
    task: Annotated[str | None, typer.Option(help="What is asked; none: found out.")] = None,
    method: Annotated[str | None, typer.Option(help="What is learnt: full, partial, lora ...")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Folder of the search.")] = None,
    budget: Annotated[str | None, typer.Option(help="20 runs, 30min, 2h, 5000 steps, 30 epochs, 1e6 tokens.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials that are trained at once.")] = 1,
    page: Annotated[bool, typer.Option(help="Write search.html at the end.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace a search that is there.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the search that is there.")] = False,
) -> None:
    """Search a recipe's settings; the winner is then held against the recipe as it stands."""
    from luthier.search_commands import search_recipe

    options = {"model.name": model, "data.train": data, "task": task, "method": method, "output": output}
    how = {"overwrite": overwrite, "resume": resume, "has_page": page}
    search_recipe(recipe, overrides or [], {**options, "search.budget": budget}, num_workers=workers, **how)


@search_app.command()
def status(
    folder: Folder,
    json: AsJson = False,
) -> None:
    """Tell how a search stands: trials, best so far, budget left; it may be at work meanwhile."""
    from luthier.search_commands import tell_status

    tell_status(folder, as_json=json)


@search_app.command()
def best(
    folder: Folder,
    json: AsJson = False,
) -> None:
    """Tell the winner's settings, and its score beside that of the recipe as it stands."""
    from luthier.search_commands import tell_best

    tell_best(folder, as_json=json)


@search_app.command()
def export(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the recipe.")] = Path("best.yaml"),
) -> None:
    """Write the winner's recipe, as one for luthier train."""
    from luthier.search_commands import export_best

    export_best(folder, output)
