"""Answers for a whole split: longest rows first, so that little padding is computed, given in the rows' own order."""

from dataclasses import replace
from itertools import groupby

import torch
from datasets import Dataset
from jaxtyping import Int
from numpy import ndarray
from transformers import PreTrainedModel

from luthier.data.batching import Batching
from luthier.models.arithmetic import computing
from luthier.models.flat import is_laid
from luthier.models.frozen import cache as frozen
from luthier.models.frozen.rows import row_keys
from luthier.models.memory import in_halves
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
    """One prediction a row of a prepared split, its windows joined; the model's mode is left as it was found.

    Raises MemoryError where not even a single row fits.
    """
    was_training = model.training
    model.eval()
    is_served = frozen.is_served(model)
    found: list[Prediction | None] = [None] * len(rows)
    with computing(model, precision) as forward:

        def told(numbers: Int[ndarray, " batch"]) -> list[Prediction]:
            columns = rows[numbers]
            batch = replace(task.collate(columns, processor), keys=row_keys(columns) if is_served else None)
            with frozen.around(model, batch) as here, forward():
                return task.predict(model, here, answers=answers)

        for numbers in Batching(rows["length"][:], batch_size, batch_tokens, is_flat=is_laid(model)).sorted():
            for number, answer in zip(numbers, in_halves(numbers, told), strict=True):
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
