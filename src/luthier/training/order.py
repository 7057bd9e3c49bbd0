"""Which rows each step learns from: a function of the seed and the step alone, so that a run can begin anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from datasets import Dataset
from jaxtyping import Int
from numpy import ndarray

from luthier.data.batching import Batching
from luthier.methods import Stage
from luthier.training.settings import Training


@dataclass(frozen=True)
class Order:
    """The course of the rows over a whole run."""

    batching: Batching
    epoch_ends: tuple[int, ...]
    """The step at which each epoch that the run begins would end."""
    num_steps: int
    """The run's horizon."""

    @classmethod
    def plan(cls, lengths: Int[ndarray, " rows"], settings: Training) -> "Order":
        """The order for rows of these lengths, in tokens."""
        return cls.over(Batching(lengths, settings.batch_size, settings.batch_tokens, settings.seed), settings)

    @classmethod
    def of(cls, stage: Stage, rows: Dataset, settings: Training) -> "Order":
        """The order that a stage asks for of its prepared rows."""
        if stage.batching is None:
            return cls.plan(rows["length"][:], settings)
        return cls.over(stage.batching(rows, settings.batch_size, settings.seed), settings)

    @classmethod
    def over(cls, batching: Batching, settings: Training) -> "Order":
        """The order of batches."""
        ends = _epoch_ends(batching, settings)
        return cls(batching, tuple(ends), _num_steps(ends, settings))

    def after(self, step: int) -> Iterator[Int[ndarray, " batch"]]:
        """Row numbers of every step that follows this one, without end."""
        return (numbers for _, numbers in islice(self.batching.endless(), step, None))

    def rows(self, step: int) -> Int[ndarray, " batch"]:
        """Row numbers of a step, counted from 1."""
        return next(self.after(step - 1))

    def epoch_at(self, step: int) -> float:
        """Epochs done after a step, as a number with a fraction."""
        number = int(np.searchsorted(self.epoch_ends, step))
        start = self.epoch_ends[number - 1] if number else 0
        return round(number + (step - start) / (self.epoch_ends[number] - start), 3)


def _epoch_ends(batching: Batching, settings: Training) -> list[int]:
    steps, epochs = settings.steps, settings.epochs
    assert steps is not None or epochs is not None, "settings must be resolved before training"
    ends = [len(batching.epoch(0))]
    while ends[-1] < steps if steps is not None else len(ends) < (epochs or 1):
        ends.append(ends[-1] + len(batching.epoch(len(ends))))
    return ends


def _num_steps(ends: list[int], settings: Training) -> int:
    """Of a fraction of an epoch, one step at least."""
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    start = ends[-2] if len(ends) > 1 else 0
    share = settings.epochs - (len(ends) - 1)
    return start + max(1, round(share * (ends[-1] - start)))
