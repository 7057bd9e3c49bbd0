"""The commands: thin, no logic. Nothing heavy is imported before a command needs it."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.merge_cli import merge_app
from luthier.search_cli import search_app

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What a command line that cannot be understood raises; typer shows no other way to its name."""

app = typer.Typer(
    name="luthier",
    help="Fine-tune pretrained transformers, with the evidence. Start with: luthier init",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(merge_app)
app.add_typer(search_app)

Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value, as in training.epochs=5.")]
Model = Annotated[str | None, typer.Option(help="Hub id, folder, or package:NAME/PATH.")]
Data = Annotated[str | None, typer.Option(help="Training rows: file, folder of class folders, hub id, package:...")]
Task = Annotated[str | None, typer.Option(help="What is asked, as in text-classification; none: found out.")]
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
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model and --data.")] = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    task: Task = None,
    method: Method = None,
    output: Output = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is there.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the run that is there; begin where none is.")] = False,
) -> None:
    """Fine-tune a model and judge it."""
    from luthier.commands import train_recipe

    options = {"model.name": model, "data.train": data, "task": task, "method": method, "output": output}
    train_recipe(recipe, overrides or [], options, overwrite=overwrite, resume=resume)


@app.command()
def compare(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model and --data.")] = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    task: Task = None,
    output: Output = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Training time of each; none: the recipe's steps.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a comparison that is there.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the comparison that is there.")] = False,
) -> None:
    """Fine-tune under several methods and put them side by side: which one for these rows?"""
    from luthier.commands import compare_recipe

    options = {"model.name": model, "data.train": data, "task": task, "output": output}
    compare_recipe(recipe, overrides or [], options, seconds=seconds, overwrite=overwrite, resume=resume)


@app.command()
def curve(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model and --data.")] = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    task: Task = None,
    method: Method = None,
    output: Output = None,
    sizes: Annotated[str | None, typer.Option(help="Rows of each label, as 2,4,8; none: what suits the rows.")] = None,
    splits: Annotated[int, typer.Option(min=1, help="Runs of each size, each with rows of its own.")] = 5,
    keep_models: Annotated[bool, typer.Option(help="Keep each run's weights once it is judged.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a curve that is there.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the curve that is there.")] = False,
) -> None:
    """Score a classification against examples per class: what would more of them buy?"""
    from luthier.few_commands import curve_recipe

    options = {"model.name": model, "data.train": data, "task": task, "method": method, "output": output}
    how = {"overwrite": overwrite, "resume": resume, "keep_models": keep_models}
    curve_recipe(recipe, overrides or [], options, sizes, splits=splits, **how)


@app.command()
def resume(
    run: Folder,
    overrides: Overrides = None,
    accept_changes: Annotated[bool, typer.Option(help="Go on with other settings, rows or weights.")] = False,
) -> None:
    """Go on with a run that was stopped or killed, from its newest checkpoint."""
    from luthier.commands import resume_run

    resume_run(run, overrides or [], accept_changes=accept_changes)


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
    losses: Annotated[bool, typer.Option(help="In place of answers, the loss of each row's target.")] = False,
) -> None:
    """Answer texts with a run's model."""
    from luthier.commands import predict_with_run

    predict_with_run(run, texts or [], file, output, device, losses=losses)


@app.command()
def suggest(
    run: Folder,
    file: Annotated[str, typer.Option(help="Rows without labels: CSV, TSV, JSONL ...")],
    number: Annotated[int, typer.Option(min=1, help="How many rows.")] = 20,
    output: Annotated[Path | None, typer.Option(help="File to fill in: .csv or .jsonl; else the screen.")] = None,
    device: Device = "auto",
) -> None:
    """Choose the rows that are most worth labelling: the model is unsure of them, and they differ."""
    from luthier.few_commands import suggest_rows

    suggest_rows(run, file, number, output, device)


@app.command()
def chat(
    run: Folder,
    system: Annotated[str, typer.Option(help="What the system's turn says.")] = "",
    temperature: Annotated[float | None, typer.Option(min=0, help="0: the likeliest words; above it: drawn.")] = None,
    top_p: Annotated[float | None, typer.Option(min=1e-6, max=1, help="Draw from the likeliest of this sum.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer.")] = None,
    seed: Annotated[int, typer.Option(help="What is drawn, is drawn again under the same seed.")] = 0,
    device: Device = "auto",
) -> None:
    """Talk with a run's model; a line of standard input is a turn. What is not said is as the recipe has it."""
    from luthier.commands import chat_with_run

    sampling = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
    chat_with_run(run, sampling, system=system, seed=seed, device=device)


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


@app.command()
def check(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model and --data.")] = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    task: Task = None,
    method: Method = None,
    output: Output = None,
) -> None:
    """Do everything short of training, and show what the model will see; nothing is written."""
    from luthier.commands import check_recipe

    options = {"model.name": model, "data.train": data, "task": task, "method": method, "output": output}
    check_recipe(recipe, overrides or [], options)


@app.command()
def plan(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; not needed with --model and --data.")] = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    task: Task = None,
    method: Method = None,
    memory: Annotated[str | None, typer.Option(help="Memory of a device, as 24GB; none: what is free here.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Devices that share weights, gradients and optimiser.")] = 1,
    length: Annotated[int | None, typer.Option(min=8, help="Tokens of a row; then no data is read.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows of a step, in place of the recipe's.")] = None,
    rate: Annotated[str | None, typer.Option(help="Operations a second of a device, as 400GFLOPS.")] = None,
    measure: Annotated[bool, typer.Option(help="Take a few real steps, to tell the time.")] = False,
    compare: Annotated[bool, typer.Option(help="Also plan every other method.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Write the plan as JSON.")] = False,
) -> None:
    """Tell what a run will take, before any weight is loaded, and which method fits."""
    from luthier.commands import plan_recipe

    options = {"model.name": model, "data.train": data, "task": task, "method": method}
    size = {"memory": memory, "devices": devices, "length": length, "batch_size": batch_size}
    plan_recipe(recipe, overrides or [], options, size, rate=rate, measure=measure, compare=compare, as_json=json)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else the screen.")] = None,
) -> None:
    """Write the JSON schema of a recipe, for editors that complete and check while you type."""
    from luthier.commands import write_schema

    write_schema(output)


@app.command()
def doctor() -> None:
    """Tell versions, devices, free disk, and which optional parts are installed."""
    from luthier.commands import examine_machine

    examine_machine()


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake ends in one message and exit code 2."""
    from luthier.errors import LuthierError, redacted
    from luthier.interrupt import Interrupted

    asked = sys.argv[1:] if arguments is None else arguments
    try:
        result: Any = app(asked or ["--help"], standalone_mode=False)
    except LuthierError as error:
        print(f"luthier: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(f"luthier: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except UsageError as error:
        told = redacted(error.format_message().rstrip("."))  # type: ignore[attr-defined]
        print(f"luthier: {told} (luthier --help)", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read our output has read enough: `luthier describe | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:  # a file that cannot be read or written
        print(f"luthier: {redacted(str(error.filename or 'this machine'))}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
