"""What is asked of a model. One file a task; this is the contract.

A task knows the columns a row must have, how a row becomes tokens and targets, the loss, and how the model's
answers are read. It never knows a model family: hidden states and head come from `models/forward.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.component import Component
from luthier.data.columns import Column

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Loss:
    """A sum and a count, item by item (usually a row); whoever adds them up divides once, at the end.

    Never a mean: accumulation, padding, packing and processes then give the gradient of one big batch.
    """

    total: Float[Tensor, "*items"]
    count: Float[Tensor, "*items"]


@dataclass(frozen=True)
class Batch:
    """Padded rows, ready for a model."""

    inputs: dict[str, Tensor]
    """What the model's `forward` takes; each (batch, ...)."""
    targets: Tensor | None
    """What the loss compares with; the first axis is the batch. None where rows have no label."""
    num_tokens: int
    """Real tokens, padding not counted."""
    num_padding: int
    """Padding tokens."""

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        targets = None if self.targets is None else self.targets.to(device, non_blocking=True)
        return replace(self, inputs=inputs, targets=targets)


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one row."""

    value: int | float | tuple[int, ...]
    """The number of the chosen label, the numbers of all chosen labels, or the predicted number."""
    scores: tuple[float, ...] = ()
    """Probability of each label; empty for a regression."""
    loss: float = 0.0
    """Loss of the row against its target, summed: a negative log-likelihood where the task has one."""
    count: float = 0.0
    """What `loss` is to be divided by."""


class Task(Component, ABC):
    """What is asked: columns, tokens, loss and answers."""

    couples_rows: ClassVar[bool] = False
    """Whether a row's loss depends on the batch's other rows; then accumulation is refused."""
    auto_model: ClassVar[str]
    """The transformers auto class that loads a model for this task."""
    pipeline: ClassVar[str]
    """The `transformers.pipeline` that runs the saved model."""

    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns a row must or may have."""

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """What the model's configuration must say for this task; only of a resolved task."""

    def require_targets(self, rows: Dataset, split: str) -> None:
        """Raise DataError, one for all of them, where rows have targets that this resolved task has no answer for.

        It looks at the rows alone, so that it is told of every split before a model is loaded.
        """

    @abstractmethod
    def prepare(self, rows: Dataset, processor: PreTrainedTokenizerBase) -> Dataset:
        """Tokens, targets and `length`, made once; `target` is left out where rows have no label."""

    @abstractmethod
    def collate(self, rows: Mapping[str, Any], processor: PreTrainedTokenizerBase) -> Batch:
        """A batch of prepared rows, given as columns."""

    @abstractmethod
    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """The loss of each row."""

    @abstractmethod
    def predict(self, model: PreTrainedModel, batch: Batch) -> list[Prediction]:
        """The answer for each row."""

    @abstractmethod
    def describe(self, prediction: Prediction) -> dict[str, Any]:
        """A prediction in the user's words, as JSON."""

    @property
    @abstractmethod
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        """The usual metrics, each a kind or a mapping with its settings; `loss` is always one."""
