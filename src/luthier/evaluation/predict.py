"""Answers for a whole split: longest rows first, so that little padding is computed, given in the rows' own order."""

from itertools import groupby

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from luthier.data.batching import Batching
from luthier.models.device import arithmetic
from luthier.models.processor import Processor
from luthier.tasks import Prediction, Task


@torch.inference_mode()
def predict(
    model: PreTrainedModel,
    task: Task,
    rows: Dataset,
    processor: Processor,
    *,
    batch_size: int,
    batch_tokens: int | None = None,
    precision: str = "fp32",
    answers: bool = True,
) -> list[Prediction]:
    """One prediction a row of a prepared split, its windows joined; the model's mode is left as it was found."""
    was_training = model.training
    model.eval()
    found: list[Prediction | None] = [None] * len(rows)
    for numbers in Batching(rows["length"][:], batch_size, batch_tokens).sorted():
        batch = task.collate(rows[numbers], processor).to(model.device)
        with arithmetic(model.device.type, precision):
            told = task.predict(model, batch, answers=answers)
        for number, answer in zip(numbers, told, strict=True):
            found[number] = answer
    model.train(was_training)
    joined = _joined(task, rows, [answer for answer in found if answer is not None])
    return task.finish(joined, rows, processor)


def _joined(task: Task, rows: Dataset, windows: list[Prediction]) -> list[Prediction]:
    """One a row, of one a window."""
    if "row" not in rows.column_names:
        return windows
    whose = rows["row"][:]
    of_rows = (list(group) for _, group in groupby(range(len(windows)), key=lambda number: whose[number]))
    return [windows[group[0]] if len(group) == 1 else task.join([windows[i] for i in group]) for group in of_rows]
