"""Luthier's side of a comparison: a model with its method applied, and the course of its training, timed."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from benchmarks._work import Work
from luthier import groundwork
from luthier.data.source import DataSource
from luthier.data.splits import Splits
from luthier.evaluation.predict import predict
from luthier.groundwork import Built, Rows
from luthier.methods import Method
from luthier.models.device import choose_device, choose_precision
from luthier.recipe import Recipe
from luthier.tasks import Prediction
from luthier.training.course import Material, course
from luthier.training.settings import Training

Learn = Callable[[Dataset], float]
"""Trains a model on prepared rows; -> seconds."""


@dataclass(frozen=True)
class Learnt:
    """What a training took."""

    seconds: float
    """From the first batch to the last step, evaluations left out."""
    epochs_s: tuple[float, ...]
    """Seconds of each epoch."""
    losses: tuple[float, ...]
    """Mean loss of each step's rows."""
    num_replayed: int
    """How often a row's frozen states came from the cache."""


def build(work: Work, method: Method, *, model: dict[str, Any] | None = None, **training: Any) -> Built:
    """The model of a run, ready to learn; `model` and `training` are settings.

    There is no warm-up, as each library rounds so short a one its own way.
    """
    usual = {"log_every": 1, "schedule": {"kind": "linear", "warmup": 0.0}}
    recipe = Recipe(
        model=work.source.model_copy(update=model or {}),
        data=DataSource(train="rows that are there already"),
        task=work.task,
        method=method,
        training=Training.model_validate({**usual, **training}),
    )
    return groundwork.build(recipe, Rows(Splits(work.rows, None, None), work.task, choose_device("auto")))


def side(work: Work, method: Method, **chosen: Any) -> tuple[PreTrainedModel, Learn]:
    """Luthier's model, and what trains it on some rows; the settings are those of `build`."""
    built = build(work, method, **chosen)
    return built.model, lambda rows: learn(built, rows).seconds


def learn(built: Built, rows: Dataset) -> Learnt:
    """Train on prepared rows to the end, and tell what it took."""
    recipe = built.recipe
    material = Material(built.model, built.processor, recipe.task, rows, None)
    synchronize()
    ends = [time.perf_counter()]
    losses, num_replayed = [], 0
    for record in course(material, recipe.method, recipe.training):
        num_replayed += record.get("replayed", 0)
        if record["event"] == "step":
            losses.append(record["loss"])
            if float(record["epoch"]).is_integer():
                synchronize()
                ends.append(time.perf_counter())
    synchronize()
    seconds = time.perf_counter() - ends[0]
    return Learnt(seconds, tuple(b - a for a, b in pairwise(ends)), tuple(losses), num_replayed)


def measured(train: Learn, work: Work, *, epochs: int = 1) -> dict[str, float]:
    """Time, speed in real tokens, and peak memory of a side that has done its first steps on other rows before."""
    if len(work.warm):
        train(work.warm)
    seconds = train(work.train)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    num_tokens = epochs * int(work.train["length"][:].sum())
    return {"seconds": seconds, "tokens_per_s": num_tokens / seconds, "peak_mib": peak / 2**20}


def held_out_loss(model: PreTrainedModel, work: Work) -> float:
    """Mean loss on the held-out rows, computed alike for every side."""
    told = answers(model, work, generates=False)
    return sum(each.loss for each in told) / sum(each.count for each in told)


def answers(model: PreTrainedModel, work: Work, *, generates: bool = True) -> list[Prediction]:
    """A model's answers to the held-out rows, whoever trained it."""
    precision = choose_precision("auto", choose_device("auto"))
    model.config.use_cache = False
    how = {"batch_size": 32, "batch_tokens": 2048, "precision": precision}
    return predict(model, work.task, work.held_out, work.processor, answers=generates, **how)


def synchronize() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
