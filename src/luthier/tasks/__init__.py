"""What is asked of a model. One file a task; this is the contract.

A task knows the layouts of its rows, how a row becomes tokens and targets, the loss, and how the model's
answers are read. It never knows a model family: hidden states and head come from `models/forward.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.component import Component
from luthier.data.columns import Layout

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from datasets import Dataset
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from luthier.models.processor import Processor
    from luthier.models.source import ModelSource

Row = Mapping[str, Any]
"""A row under the names of a layout, as the task keeps it."""


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
    keys: tuple[str, ...] | None = field(default=None, kw_only=True)
    """What the states of each row are kept under; None where they are not."""

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

    value: Any
    """What the task's metrics compare with a reference: a label's number, several numbers, a text; None where no
    answer was asked for."""
    scores: tuple[float, ...] = ()
    """Probability of each label, or of each part of the value; empty where there is none."""
    loss: float = 0.0
    """Loss of the row against its target, summed: a negative log-likelihood where the task has one."""
    count: float = 0.0
    """What `loss` is to be divided by."""
    hits: float = 0.0
    """Of `count` tokens, those that the model found likeliest; 0 where the task counts no tokens."""


class Task(Component, ABC):
    """What is asked: layouts, tokens, loss and answers."""

    auto_model: ClassVar[str]
    """The transformers auto class that loads a model for this task; several have a | between them."""
    architectures: ClassVar[tuple[str, ...]]
    """Those of `models.architecture` that the task suits."""
    pipeline: ClassVar[str]
    """The name the field gives the task: that of the `transformers.pipeline` for it, where there is one."""
    chosen_last: ClassVar[bool] = False
    """Whether any other task that rows and model speak for as well is chosen before it, where nobody says which."""
    sample: ClassVar[Any] = "A text to answer."
    """Something to answer, as a user would write it; reports show how to ask with it."""

    @property
    def couples_rows(self) -> bool:
        """Whether a row's loss depends on the batch's other rows: then it is `relate` of what `embed` makes of each."""
        return False

    @property
    def generates(self) -> bool:
        """Whether an answer costs a generation, far more than a forward pass: then it is only made when needed."""
        return False

    @abstractmethod
    def layouts(self) -> tuple[Layout, ...]:
        """The forms in which rows are read; the first that a file serves is taken."""

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """What the model's configuration must say for this task; only of a resolved task."""

    def load_processor(self, source: ModelSource) -> Processor:
        """What makes a model's inputs of rows; only of a resolved task."""
        from luthier.models.processor import load_tokenizer

        return load_tokenizer(source)

    def require_targets(self, rows: Dataset, split: str) -> None:
        """Raise DataError, one for all of them, where rows have targets that this resolved task has no answer for.

        It looks at the rows alone, so that it is told of every split before a model is loaded.
        """

    def fit(self, model: PreTrainedModel, processor: Processor) -> None:
        """Change a model that was just loaded as far as the task needs it, before the method is applied.

        Raises ModelError where it cannot serve.
        """

    @abstractmethod
    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        """Tokens, targets and `length`, made once; `target` is left out where rows have no label.

        `cut` tells of each whether it lost tokens to a limit.
        A long row may become several windows: then the column `row` holds the number of the row that each is of,
        in rising order. For training, several rows may be packed into one: then `row` holds a list.
        """

    @abstractmethod
    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        """A batch of prepared rows, given as columns."""

    @abstractmethod
    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """The loss of each row."""

    def embed(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, "rows ..."]:
        """What the loss of a task that couples rows sees of each, in fp32 at least."""
        raise NotImplementedError(f"{self.kind()} couples no rows")

    def relate(self, states: Float[Tensor, "rows ..."], targets: Tensor) -> Loss:
        """The loss of each row among the others, of what `embed` made of them."""
        raise NotImplementedError(f"{self.kind()} couples no rows")

    @abstractmethod
    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        """The answer for each row; without `answers`, a task that generates tells only its loss."""

    def tally(self, prepared: Dataset) -> dict[str, int]:
        """How often each label occurs among prepared rows, in the model's order; empty where there are no labels."""
        return {}

    def show(self, prepared: Row, processor: Processor) -> list[tuple[str, bool]]:
        """A prepared row as text, piece by piece, and whether the loss looks at the piece."""
        from luthier.models.processor import tokenizer_of

        return [(str(tokenizer_of(processor).decode(prepared["input_ids"])), False)]

    def join(self, windows: Sequence[Prediction]) -> Prediction:
        """The answer for a row, of those for its windows; asked for no row that has a single one."""
        raise NotImplementedError(f"{self.kind()} makes no windows")

    def finish(self, predictions: list[Prediction], rows: Dataset, processor: Processor) -> list[Prediction]:
        """Answers as metrics read them, of those for every prepared row: token ids become text here.

        A prediction whose value is None, as no answer was asked for, stays as it is.
        """
        return predictions

    def references(self, prepared: Dataset) -> Sequence[Any]:
        """What metrics compare answers with, row by row (not window by window)."""
        targets: Sequence[Any] = prepared["target"][:]
        return targets

    def write_beside(self, model: PreTrainedModel, folder: Path) -> None:
        """Add to a folder with the model's plain weights what other tools need to use it for this task."""

    @abstractmethod
    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        """A row's prediction in the user's words, as JSON."""

    @property
    @abstractmethod
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        """The usual metrics, each a kind or a mapping with its settings; `loss` is always one."""
