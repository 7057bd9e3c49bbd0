"""The course of a training: steps, log lines, evaluations, the best state, an early end.

All that surrounds the one loop, as one generator of records; whoever follows it logs and shows them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.data.batching import Batching
from luthier.errors import RecipeError, did_you_mean
from luthier.evaluation.metrics import Metric
from luthier.evaluation.predict import predict
from luthier.evaluation.score import metrics_of, value
from luthier.methods import Method
from luthier.tasks import Batch, Task
from luthier.training.best import Best
from luthier.training.clock import Clock
from luthier.training.loop import TrainState, train
from luthier.training.settings import Training

LAST = "last"


@dataclass(frozen=True)
class Material:
    """What a training works on: a model with its method applied, and prepared rows."""

    model: PreTrainedModel
    processor: PreTrainedTokenizerBase
    task: Task
    train: Dataset
    validation: Dataset | None


def course(material: Material, method: Method, settings: Training) -> Iterator[dict[str, Any]]:
    """Train to the horizon or the early end, and leave the best state in the model.

    Raises TrainingError where the loss is no number any more.
    """
    if material.task.couples_rows and settings.accumulation > 1:
        raise RecipeError("training.accumulation: this task's loss couples the rows of a batch; say 1")
    batching = Batching(material.train["length"][:], settings.batch_size, settings.batch_tokens, settings.seed)
    epoch_ends = _epoch_ends(batching, settings)
    num_steps = _num_steps(epoch_ends, settings)
    state = TrainState.start(material.model, method, settings, num_steps)
    watch = _watch(material, settings)
    best = Best(watch.higher_is_better, settings.patience) if watch else None
    clock = Clock(state, num_steps)
    torch.manual_seed(settings.seed)  # dropout, whatever was drawn while the model was made
    for step in train(material.model, material.task, _batches(batching, material, settings), settings, state):
        yield {"event": "progress", "step": step.number, "num_steps": num_steps}
        clock.add(step)
        is_last = step.number == num_steps
        if step.number % settings.log_every == 0 or is_last:
            yield clock.read(epoch=_epoch_at(step.number, epoch_ends))
        every = settings.evaluate_every
        if best and (is_last or (step.number % every == 0 if every else step.number in epoch_ends)):
            with clock.paused():
                assert watch is not None
                yield _evaluate(material, settings, watch, best, step.number)
        if best and best.time_to_stop:
            break
    if best:
        best.restore(material.model)
    yield {"event": "trained", **clock.summary(), "best_step": (best and best.step) or state.step}


def _batches(batching: Batching, material: Material, settings: Training) -> Iterator[Sequence[Batch]]:
    """Micro-batches of every step, epoch after epoch; neighbours in length stay together."""
    assert settings.micro_batch_tokens != "auto", "settings must be resolved before training"
    bound = None if material.task.couples_rows else settings.micro_batch_tokens
    micro = replace(batching, batch_tokens=bound)
    for _, numbers in batching.endless():
        parts = np.array_split(numbers, min(settings.accumulation, len(numbers)))
        pieces = [piece for part in parts for piece in micro.cut(part)]
        yield [material.task.collate(material.train[piece], material.processor) for piece in pieces]


def _epoch_ends(batching: Batching, settings: Training) -> list[int]:
    """The step at which each epoch that the run begins would end."""
    steps, epochs = settings.steps, settings.epochs
    assert steps is not None or epochs is not None, "settings must be resolved before training"
    ends = [len(batching.epoch(0))]
    while ends[-1] < steps if steps is not None else len(ends) < (epochs or 1):
        ends.append(ends[-1] + len(batching.epoch(len(ends))))
    return ends


def _num_steps(ends: list[int], settings: Training) -> int:
    """The run's horizon; of a fraction of an epoch, one step at least."""
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    start = ends[-2] if len(ends) > 1 else 0
    share = settings.epochs - (len(ends) - 1)
    return start + max(1, round(share * (ends[-1] - start)))


def _epoch_at(step: int, ends: list[int]) -> float:
    """Epochs done after a step, as a number with a fraction."""
    number = int(np.searchsorted(ends, step))
    start = ends[number - 1] if number else 0
    return round(number + (step - start) / (ends[number] - start), 3)


def _watch(material: Material, settings: Training) -> Metric | None:
    """The metric that chooses the best state; None where the last state is wanted, or nothing can be watched."""
    if settings.best == LAST:
        return None
    if material.validation is None:
        if settings.patience is not None or settings.best != "auto":
            raise RecipeError("training.best and training.patience need validation rows; set data.validation")
        return None
    metrics = {metric.name: metric for metric in metrics_of(material.task.metrics)}
    name = "loss" if settings.best == "auto" else settings.best
    if name not in metrics:
        known = ", ".join(metrics)
        raise RecipeError(f"training.best: no metric is called {name}{did_you_mean(name, metrics)} ({known}, last)")
    return metrics[name]


def _evaluate(material: Material, settings: Training, watch: Metric, best: Best, step: int) -> dict[str, Any]:
    """The task's first metric, its loss, and the watched one, on the validation rows."""
    rows = material.validation
    assert rows is not None
    predictions = predict(material.model, material.task, rows, material.processor, **settings.evaluation())
    first, loss = metrics_of((material.task.metrics[0], "loss"))
    scores = {metric.name: value(metric, predictions, rows["target"][:]) for metric in (first, loss, watch)}
    is_best = best.see(scores[watch.name], step, material.model)
    return {"event": "evaluation", "step": step, **scores, "best": is_best}
