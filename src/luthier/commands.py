"""What the commands do: read the line, call the library, show what came out."""

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import DataError, LuthierError, RecipeError, RunError

if TYPE_CHECKING:
    from luthier.recipe import Recipe


def train_recipe(
    recipe: str | None, overrides: Sequence[str], options: Mapping[str, str | None], *, overwrite: bool, resume: bool
) -> None:
    """Follow a recipe and show its records."""
    if overwrite and resume:
        raise RecipeError("train: --overwrite begins anew and --resume goes on; say one of them")
    _follow(chosen_recipe(recipe, overrides, options), overwrite=overwrite, resume=resume)


def compare_recipe(
    recipe: str | None,
    overrides: Sequence[str],
    options: Mapping[str, str | None],
    *,
    seconds: float | None,
    overwrite: bool,
    resume: bool,
) -> None:
    """Run a recipe's variants one after the other, and say which is best."""
    if overwrite and resume:
        raise RecipeError("compare: --overwrite begins anew and --resume goes on; say one of them")
    chosen = chosen_recipe(recipe, overrides, options)
    from rich.console import Console

    from luthier.comparing.compare import PAGE, compare
    from luthier.comparing.shown import show

    console = Console(highlight=False, soft_wrap=True)
    for record in compare(chosen, seconds=seconds, overwrite=overwrite, resume=resume):
        show(record, console)
    console.print(f"\n[bold]page[/]      {Path(chosen.output) / PAGE}")


def resume_run(folder: str, overrides: Sequence[str], *, accept_changes: bool) -> None:
    """Go on with a run, from the recipe in its folder."""
    from luthier import recipe as recipes
    from luthier.run import Run

    run = Run(folder)
    if not run.has_begun:
        raise RunError(f"{folder}: holds no run that has begun; luthier train begins one")
    chosen = recipes.read(run.folder / "recipe.yaml", [f"output={json.dumps(folder)}", *overrides])
    _follow(chosen, resume=True, accept_changes=accept_changes)


def _follow(recipe: "Recipe", **how: bool) -> None:
    """A signal stops it between two steps, with a checkpoint."""
    from luthier.interrupt import Interrupted, Stop
    from luthier.report.screen import Screen
    from luthier.run import Run

    try:
        with Stop().listening() as stop, Screen() as screen:
            from luthier.pipeline import follow

            for record in follow(recipe, stop=stop, **how):
                screen.show(record)
    except Interrupted as error:
        raise Interrupted(error.signal_number, f"{error}; {Run(recipe.output).next_step}") from None
    screen.conclude(recipe.output)


def chosen_recipe(recipe: str | None, overrides: Sequence[str], options: Mapping[str, str | None]) -> "Recipe":
    """The recipe that a command line means: a file with overrides, or options alone."""
    asked = list(overrides)
    if recipe is not None and "=" in recipe:  # no file: the first override stands in its place
        asked.insert(0, recipe)
        recipe = None
    given = [f"{path}={value}" for path, value in options.items() if value is not None]
    if recipe is None and not {"model.name", "data.train"} <= {g.partition("=")[0] for g in given}:
        raise RecipeError("train: give a recipe (luthier init writes one), or --model and --data")
    if recipe is None and options.get("task") is None:
        given.append("task=auto")
    from luthier import recipe as recipes

    asked = [*given, *asked]
    return recipes.parse("", asked, source="command line") if recipe is None else recipes.read(recipe, asked)


def write_recipe(path: Path, *, model: str | None, data: str | None, task: str | None, method: str | None) -> None:
    """A commented recipe; nothing is overwritten."""
    if path.exists():
        raise RecipeError(f"{path}: exists; choose another name")
    from luthier.report.template import template

    path.write_text(template(model=model, data=data, task=task, method=method), encoding="utf-8")
    print(f"Wrote {path}. Next: luthier train {path}")


def evaluate_run(folder: str, source: str, device: str) -> None:
    """Score other rows and print the table; the run stays as it is."""
    from luthier.evaluation.score import as_json
    from luthier.report.screen import print_scores
    from luthier.run import Run

    run = Run.open(folder)
    scores, notes = run.evaluate(source, device=device)
    for note in notes:
        print(note)
    print_scores({Path(source).name: as_json(scores)})


def predict_with_run(
    folder: str, texts: Sequence[str], file: str | None, output: Path | None, device: str, *, losses: bool
) -> None:
    """Answers to texts or to a file's rows, or the losses of its targets, on the screen or into a file."""
    from luthier.run import Run

    if bool(texts) == bool(file):
        raise DataError("predict: give texts, or --file")
    if losses and file is None:
        raise DataError("predict: --losses needs rows with targets; give them with --file")
    if output is not None and output.suffix not in (".csv", ".jsonl"):
        raise DataError(f"predict: {output} is neither .csv nor .jsonl")
    run = Run.open(folder)
    if file is None:
        rows: list[dict[str, Any]] = [{"text": text} for text in texts]
        answers = run.predict(texts, device=device)
    else:
        table, notes = run.read_rows(file, labelled=losses)
        for note in notes:
            print(note, file=sys.stderr)
        rows = table.to_list()
        answers = run.answer(table, device=device, losses=losses)
    if output is None:
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False))
    elif output.suffix == ".jsonl":
        output.write_text("".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))
    else:
        write_csv(output, _side_by_side(rows, answers))


def _side_by_side(rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows and answers as one table; scores get a column each."""
    table = []
    for row, answer in zip(rows, answers, strict=True):
        scores = {f"score of {label}": score for label, score in answer.get("scores", {}).items()}
        plain = {key: value for key, value in answer.items() if key != "scores"}
        table.append({**row, **plain, **scores})
    return table


def write_csv(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """A table of at least one row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def chat_with_run(folder: str, sampling: Mapping[str, Any], *, system: str, seed: int, device: str) -> None:
    """Talk until nobody asks any more."""
    from luthier.chatting import conversing_with_run
    from luthier.report.chat import note, talk

    said = {name: value for name, value in sampling.items() if value is not None}
    with conversing_with_run(folder, said, device=device, seed=seed, system=system, on_note=note) as conversation:
        talk(conversation)


def describe_kind(kind: str | None) -> None:
    """Settings of a component, or the list of all."""
    from luthier.report.help import print_component, print_groups

    if kind is None:
        print_groups()
    else:
        print_component(kind)


def list_runs(folder: Path) -> None:
    """A line a run, newest last."""
    from luthier.report.screen import print_runs
    from luthier.run import Run

    found = sorted(path.parent for path in folder.glob("**/log.jsonl")) if folder.is_dir() else []
    if not found:
        raise RunError(f"{folder}: holds no runs")
    print_runs([Run(path) for path in found])


def export_run(folder: str, to: Path | None, push: str | None, *, public: bool) -> None:
    """Copy or upload the model with its card."""
    from luthier import export
    from luthier.run import Run

    if (to is None) == (push is None):
        raise LuthierError("export: say --to FOLDER or --push ORG/NAME")
    run = Run.open(folder)
    if push is not None:
        print(f"Uploaded to {export.push(run, push, private=not public)}")
        return
    assert to is not None
    if to.exists():
        raise RunError(f"{to}: exists; choose another folder")
    shutil.copytree(export.published(run), to)
    shutil.copy(run.folder / "README.md", to / "README.md")
    print(f"Copied to {to}")


def check_recipe(recipe: str | None, overrides: Sequence[str], options: Mapping[str, str | None]) -> None:
    """Follow a recipe up to the first step, and show what it comes to."""
    chosen = chosen_recipe(recipe, overrides, options)
    from luthier.checking import check
    from luthier.report.checked import print_checked

    print_checked(check(chosen))


def plan_recipe(
    recipe: str | None,
    overrides: Sequence[str],
    options: Mapping[str, str | None],
    size: Mapping[str, Any],
    *,
    rate: str | None,
    measure: bool,
    compare: bool,
    as_json: bool,
) -> None:
    """What a recipe will take, on the screen or as JSON."""
    from luthier.planning.amounts import read_amount, read_rate

    memory = None if size["memory"] is None else read_amount(size["memory"], where="--memory")
    speed = None if rate is None else read_rate(rate, where="--rate")
    length, asked = size["length"], list(overrides)
    if size["batch_size"] is not None:
        asked.append(f"training.batch_size={size['batch_size']}")
    if length is not None and measure:
        raise RecipeError("plan: --measure takes real steps on real rows; leave --length out")
    if recipe is not None and "=" in recipe:  # no file: the first override stands in its place
        asked.insert(0, recipe)
        recipe = None
    if recipe is None and length is not None:
        if options["task"] is None:
            raise RecipeError("plan: --length reads no rows that would tell the task; say it with --task")
        options = {**options, "data.train": options["data.train"] or "none"}
    chosen = chosen_recipe(recipe, asked, options)
    from rich.console import Console

    from luthier.planning import plan as planning
    from luthier.planning.measuring import measure as measured
    from luthier.planning.shown import print_plan
    from luthier.planning.subject import subject_of

    with Console(stderr=True).status("reading") as status:
        subject = subject_of(chosen, length=length)
        room = planning.room_of(subject.rows.device, memory, size["devices"])
        seconds = measured(chosen, subject.rows) if measure else None
        made = planning.plan(
            subject, room, rate=speed, seconds=seconds, compare=compare, on_progress=lambda what: status.update(what)
        )
    if as_json:
        print(json.dumps(planning.as_data(made), indent=2))
    else:
        print_plan(made)


def write_schema(output: Path | None) -> None:
    """The recipe's schema, on the screen or in a file."""
    from luthier.recipe_schema import schema

    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{output}: cannot be written: {error.strerror}") from error
    print(f"Wrote {output}. First line of a recipe: # yaml-language-server: $schema={output}")


def examine_machine() -> None:
    """What this machine has for Luthier; it works where something is broken."""
    from luthier.doctor import examine
    from luthier.report.health import print_findings

    print_findings(examine())
