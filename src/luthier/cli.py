"""The commands: thin, no logic. Nothing heavy is imported before a command needs it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="luthier",
    help="Fine-tune pretrained transformers, with the evidence. Start with: luthier init",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value, as in training.epochs=5.")]
Model = Annotated[str | None, typer.Option(help="Hub id, folder, or package:NAME/PATH.")]
Data = Annotated[str | None, typer.Option(help="Training rows: file, folder of class folders, hub id, package:...")]
Task = Annotated[str | None, typer.Option(help="What is asked, as in text-classification.")]
Method = Annotated[str | None, typer.Option(help="What is learnt: full, partial, lora ...")]
Output = Annotated[str | None, typer.Option(help="Folder of the run.")]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
Folder = Annotated[str, typer.Argument(help="Folder of a run.")]


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Recipe to write.")] = Path("recipe.yaml"),
    model: Model = None,
    data: Data = None,
    task: Task = None,
    method: Method = None,
) -> None:
    """Write a recipe to start from, with every setting and what it means."""
    from luthier.commands import write_recipe

    write_recipe(path, model=model, data=data, task=task, method=method)


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model, --data and --task.")] = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    task: Task = None,
    method: Method = None,
    output: Output = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is there.")] = False,
) -> None:
    """Fine-tune a model and judge it."""
    from luthier.commands import train_recipe

    options = {"model.name": model, "data.train": data, "task": task, "method": method, "output": output}
    train_recipe(recipe, overrides or [], options, overwrite=overwrite)


@app.command()
def evaluate(
    run: Folder,
    data: Annotated[str, typer.Argument(help="Labelled rows: file, folder of class folders, hub id, package:...")],
    device: Device = "auto",
) -> None:
    """Score a run's model on other rows."""
    from luthier.commands import evaluate_run

    evaluate_run(run, data, device)


@app.command()
def predict(
    run: Folder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to answer.")] = None,
    file: Annotated[str | None, typer.Option(help="Rows to answer: CSV, TSV or JSONL.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where answers go: .csv or .jsonl; else the screen.")] = None,
    device: Device = "auto",
) -> None:
    """Answer texts with a run's model."""
    from luthier.commands import predict_with_run

    predict_with_run(run, texts or [], file, output, device)


@app.command()
def describe(
    kind: Annotated[str | None, typer.Argument(help="A kind, as in lora; none: lists them all.")] = None,
) -> None:
    """Tell a component's settings, or every component there is."""
    from luthier.commands import describe_kind

    describe_kind(kind)


@app.command()
def runs(folder: Annotated[Path, typer.Argument(help="Folder that holds runs.")] = Path("runs")) -> None:
    """List runs with their scores."""
    from luthier.commands import list_runs

    list_runs(folder)


@app.command()
def export(
    run: Folder,
    to: Annotated[Path | None, typer.Option(help="Copy the model to this folder.")] = None,
    push: Annotated[str | None, typer.Option(help="Upload the model to the hub as ORG/NAME.")] = None,
    public: Annotated[bool, typer.Option(help="Upload for everybody to see.")] = False,
) -> None:
    """Hand a run's model on: to a folder, or to the hub."""
    from luthier.commands import export_run

    export_run(run, to, push, public=public)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake ends in one message and exit code 2."""
    from luthier.errors import LuthierError

    try:
        result: Any = app(arguments, standalone_mode=False)
    except LuthierError as error:
        print(f"luthier: {error}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
