"""Run folders written by hand, as a run of text classification leaves them: no training, no model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.evaluation.score import Score, as_json, metrics_of, value
from luthier.recipe import check
from luthier.run import Record, Run
from luthier.tasks import Prediction

Outcome = tuple[int | float | list[int], int | float | tuple[int, ...]]
"""A row's target and what was answered."""

ENVIRONMENT = {
    "versions": {"python": "3.11.7", "luthier": "0.1.0"},
    "device": {"kind": "cpu", "name": "x86_64", "threads": 2},
    "git_commit": None,
    "model_sha256": {"model.safetensors": "a" * 64},
}
NUM_STEPS = 100


def make_run(
    folder: Path,
    outcomes: dict[str, Sequence[Outcome]],
    *,
    labels: Sequence[str] = (),
    notes: Sequence[str] = (),
    losses: Sequence[float] = (1.0, 0.8, 0.6, 0.5),
    validation_losses: Sequence[float] = (),
    trained: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    model: str = "package:some_model/model",
    **task: Any,
) -> Run:
    """A finished run whose scores follow from its outcomes; without labels, a regression."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    problem = {"problem": "single-label", "labels": list(labels)} if labels else {"problem": "regression", "labels": []}
    recipe = check(
        {
            "model": {"name": model},
            "data": {"train": "train.csv"},
            "task": {"kind": "text-classification", **problem, **task},
            "training": {"epochs": 2.0, "learning_rate": 1e-3, "precision": "fp32", "device": "cpu"},
            "output": str(folder),
        }
    )
    run.write_recipe(recipe)
    hashes = {split: split[0] * 64 for split in outcomes}
    run.write_json("environment.json", {**ENVIRONMENT, "data_sha256": hashes, **(environment or {})})
    run.log("data", rows={split: len(rows) for split, rows in outcomes.items()}, notes=list(notes))
    run.log("model", parameters=1000, trainable=10, device="cpu")
    _log_training(run, losses, validation_losses, trained or {})
    for split, rows in outcomes.items():
        _judge(run, split, rows, len(labels))
    run.log("saved", folder=str(folder))
    run.log("self-check", rows=4, difference=0.0, passed=True)
    run.model_folder.mkdir()
    return run


def share_right(right: int, of_all: int, *, num_labels: int = 2) -> list[Outcome]:
    """Rows of every label in turn, of which the first are answered right."""
    return [(row % num_labels, (row + (row >= right)) % num_labels) for row in range(of_all)]


def _log_training(
    run: Run, losses: Sequence[float], validation_losses: Sequence[float], trained: dict[str, Any]
) -> None:
    """Lines and evaluations at even distances, and a summary."""
    for records, write in ((losses, _step), (validation_losses, _evaluation)):
        for number, loss in enumerate(records, 1):
            write(run, NUM_STEPS * number // len(records), loss)
    summary = {"steps": NUM_STEPS, "rows": 3200, "tokens": 50000, "padding": 0.01, "duration_s": 12.5}
    speed = {"tokens_per_s": 4000.0, "peak_bytes": 2**30, "best_step": NUM_STEPS}
    run.log("trained", **{**summary, **speed, **trained})


def _step(run: Run, step: int, loss: float) -> Record:
    epoch = 2 * step / NUM_STEPS
    return run.log("step", step=step, num_steps=NUM_STEPS, epoch=epoch, loss=loss, learning_rate=1e-3 * (2 - epoch))


def _evaluation(run: Run, step: int, loss: float) -> Record:
    return run.log("evaluation", step=step, **{"f1-macro": 0.8, "loss": loss, "best": False})


def _judge(run: Run, split: str, rows: Sequence[Outcome], num_labels: int) -> None:
    """Scores and predictions of a split, from the project's own metrics; an answer is sure to 90 %."""
    predictions = [
        Prediction(given, tuple(0.9 if n in _as_tuple(given) else 0.1 for n in range(num_labels)), loss=0.1, count=1.0)
        for _, given in rows
    ]
    targets = [target for target, _ in rows]
    metrics = metrics_of(run.recipe.task.metrics)
    scores = {metric.name: _with_interval(value(metric, predictions, targets), len(rows)) for metric in metrics}
    run.add_scores(split, as_json(scores))
    run.write_predictions(split, predictions, targets)
    run.log("score", split=split, rows=len(rows), **{name: score.value for name, score in scores.items()})


def _as_tuple(given: int | float | tuple[int, ...]) -> tuple[int | float, ...]:
    return given if isinstance(given, tuple) else (given,)


def _with_interval(value: float, num_rows: int) -> Score:
    """The interval of a share of rows: that of a bootstrap, in no time."""
    half = 1.96 * math.sqrt(max(0.0, value * (1 - value)) / num_rows)
    return Score(value, value - half, value + half)
