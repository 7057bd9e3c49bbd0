"""One run, as a straight line: recipe -> data -> model -> method -> train -> evaluate -> report -> export.

The line is a generator of records: each is a line of the run's log, yielded as it is written; a bare `progress`
record, which is not logged, follows every step. Whoever follows the line shows the records, or stops.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from luthier import export, files
from luthier.claim import claimed
from luthier.data.splits import Splits
from luthier.environment import environment
from luthier.errors import NotFinite, RunError, TrainingError
from luthier.evaluation.answer import answer
from luthier.evaluation.judge import cheap, judge
from luthier.evaluation.score import as_json, metrics_of
from luthier.groundwork import build, read_rows
from luthier.interrupt import Stop
from luthier.models import heap
from luthier.models.arithmetic import widen
from luthier.models.flat import padded
from luthier.models.quantise import num_weights
from luthier.planning.guard import foresee
from luthier.recipe import Recipe
from luthier.report.write import write_report
from luthier.resume import as_begun, compare, identity
from luthier.run import BEFORE, Record, Run
from luthier.training.checkpoints import Checkpoints
from luthier.training.course import Material, course

NUM_TRAIN_SCORED = 500
"""Most training rows that are scored at the end, to see the gap to the validation rows."""

NUM_PLACES = 32
"""Rows of a broken step that are named."""

CHOSEN = {"learning_rate", "precision", "device"}
"""Settings whose `auto` is worth a line on the screen."""


def follow(
    recipe: Recipe,
    *,
    overwrite: bool = False,
    resume: bool = False,
    accept_changes: bool = False,
    stop: Stop | None = None,
) -> Iterator[Record]:
    """Run a recipe to its end, record by record; `Run.open(recipe.output)` then opens what came out.

    With `resume` it goes on where a run of this recipe was left; where there is none, it begins.
    Raises LuthierError, of the kind that tells where the line broke.
    """
    with claimed(recipe.output, overwrite=overwrite, resume=resume) as run, _told(run), heap.given_back():
        if run.is_done:
            files.discard(run.checkpoint_folder)  # one that was killed while it cleared up
            yield run.records[-1]
        else:
            yield from _line(run, recipe, accept_changes, stop)


def _line(run: Run, recipe: Recipe, accept_changes: bool, stop: Stop | None) -> Iterator[Record]:
    goes_on = run.has_begun
    tell = run.tell if goes_on else run.log  # it is in the log already
    read = read_rows(recipe)
    splits = read.splits
    yield tell(
        "data", rows={name: len(rows) for name, rows in splits.named().items()}, notes=(*recipe.notes, *splits.notes)
    )

    recipe, foreseen = (as_begun(run, recipe), []) if goes_on else foresee(recipe, read)
    built = build(recipe, read)
    recipe, task, model, processor = built.recipe, built.recipe.task, built.model, built.processor
    made_with = environment(recipe, splits)
    changes = compare(run, recipe, made_with, accept_changes=accept_changes) if goes_on else []
    notes = [*foreseen, *built.notes, *changes]
    yield tell("model", **_size(model), **recipe.training.model_dump(include=CHOSEN), notes=notes)

    named = splits.named()
    learnt = {**named, "train": recipe.method.taught(named["train"], task)}
    prepared = {name: task.prepare(rows, processor, training=name == "train") for name, rows in learnt.items()}
    yield tell("tokens", **_tokens(prepared))
    material = Material(model, processor, task, prepared["train"], prepared.get("validation"))
    if recipe.training.score_before and BEFORE not in run.metrics:
        yield _judge(run, recipe, material, BEFORE, list(prepared.values())[-1])
    whose = identity(run, recipe, made_with)
    checkpoints = Checkpoints(run.checkpoint_folder, whose, recipe.training.keep_checkpoints)
    try:
        for record in course(material, recipe.method, recipe.training, checkpoints=checkpoints, stop=stop):
            if record["event"] == "begins":
                run.begin(recipe, made_with, record["step"])
            yield record if record["event"] == "progress" else run.log(**record)
    except NotFinite as error:
        places = _places(splits, _sources(prepared["train"], error.rows))
        raise NotFinite(error.step, error.rows, f"{error}\n{places}") from error

    notes = recipe.method.settle(model, task, prepared, processor, **recipe.training.evaluation())
    if notes:
        yield run.log("settled", notes=notes)

    prepared["train"] = task.prepare(_sample(named), processor)
    for name, rows in prepared.items():
        yield _judge(run, recipe, material, name, rows)

    if recipe.model.dtype == "auto":
        widen(model)  # what is learnt is folded into fp32
    checked = export.rows_to_check(task, list(named.values())[-1])
    expected = _answers(material, checked)
    export.save(run, task, recipe.method, model, processor)
    yield run.log("saved", folder=str(run.folder))
    if run.model_folder.is_dir() and (recipe.model.quantize != "none" or recipe.model.dtype == "bfloat16"):
        found = _answers(material, checked)
        yield export.folded(run, expected, found)
        expected = found  # what is saved is the folded model
    yield export.self_check(run, checked, expected)

    write_report(run)
    yield run.log("done", folder=str(run.folder))
    checkpoints.clear()


@contextmanager
def _told(run: Run) -> Iterator[None]:
    """What breaks a run from outside, as one message that says how to go on."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or run.folder}: {error.strerror or error}"
        raise RunError(f"{what}; what is whole stays: mend it and say luthier resume {run.folder}") from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(
            f"out of memory: {str(error).splitlines()[0] if str(error) else 'the system refused'}; not even one row "
            "fits. Try training.checkpointing=blocks, a smaller task.max_length, or a method that learns less, as "
            "method=lora; luthier plan says what each would take"
        ) from error


def _answers(material: Material, rows: Dataset) -> list[dict[str, Any]]:
    """What the model in memory answers to the rows of the self-check, laid as whoever loads it lays them."""
    task = material.task
    with padded(material.model):
        return answer(material.model, material.processor, task, rows, losses=task.generates)


def _places(splits: Splits, rows: Sequence[int]) -> str:
    shown = ", ".join(splits.place("train", row) for row in rows[:NUM_PLACES] if row < len(splits.train))
    more = f" and {len(rows) - NUM_PLACES} more" if len(rows) > NUM_PLACES else ""
    return f"The step's rows: {shown}{more}"


def _size(model: PreTrainedModel) -> dict[str, int]:
    """Parameters in all, and those that learn."""
    return dict(zip(("parameters", "trainable"), num_weights(model), strict=True))


def _tokens(prepared: dict[str, Dataset]) -> dict[str, Any]:
    """Of each split, its tokens and the prepared rows that lost some of theirs."""
    cut = {name: int(np.sum(rows["cut"][:])) for name, rows in prepared.items() if "cut" in rows.column_names}
    return {
        "tokens": {name: int(np.sum(rows["length"][:])) for name, rows in prepared.items()},
        "rows": {name: len(rows) for name, rows in prepared.items()},
        "cut": cut,
    }


def _sources(prepared: Dataset, numbers: Sequence[int]) -> Sequence[int]:
    """The rows that prepared ones were made of: windows of one, or several packed together."""
    if "row" not in prepared.column_names:
        return numbers
    return [int(number) for number in np.unique(np.hstack(prepared[numbers]["row"]))]


def _sample(splits: dict[str, Dataset]) -> Dataset:
    """Training rows that are scored: no more than another split has, as that is what they are compared with."""
    train, *others = splits.values()
    most = max(map(len, others), default=NUM_TRAIN_SCORED)
    return train.shuffle(seed=0).select(range(min(NUM_TRAIN_SCORED, most, len(train))))


def _judge(run: Run, recipe: Recipe, material: Material, name: str, rows: Dataset) -> Record:
    """Score a split, add it to metrics.json, and keep its predictions beside."""
    task, metrics = material.task, metrics_of(material.task.metrics)
    if name == "train":
        metrics = cheap(task, metrics)
    how = recipe.training.evaluation()
    scores, predictions, references = judge(material.model, task, rows, material.processor, metrics, **how)
    run.add_scores(name, as_json(scores))
    run.write_predictions(name, predictions, references)
    return run.log("score", split=name, rows=len(predictions), **{key: s.value for key, s in scores.items()})
