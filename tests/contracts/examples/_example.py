"""What a task's contract is tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from luthier.tasks import Task
from tests.tiny import tokenizer


@dataclass(frozen=True)
class Example:
    """A resolved task, twelve rows with targets, and what runs them."""

    name: str
    task: Task
    rows: Dataset
    build: Callable[[str], PreTrainedModel]
    """A family's tiny model under the task's head."""
    processor: Callable[[str], Any] = tokenizer
    """A processor that pads on a side."""
    families: tuple[tuple[str, str], ...] = (("bert", "right"),)
    """Families that the losses are tested on, with the side of their padding; the first serves every test."""

    easy: Dataset | None = None
    """Rows that are learnt in a few steps, where `rows` are not."""

    def __str__(self) -> str:
        return self.name

    @property
    def targets(self) -> set[str]:
        """The columns that hold what is to be found."""
        return {column.name for layout in self.task.layouts() for column in layout.columns if column.target}
