"""Answers for a whole split: longest rows first, so that little padding is computed, given in the rows' own order."""

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.data.batching import Batching
from luthier.models.device import arithmetic
from luthier.tasks import Prediction, Task


@torch.inference_mode()
def predict(
    model: PreTrainedModel,
    task: Task,
    rows: Dataset,
    processor: PreTrainedTokenizerBase,
    *,
    batch_size: int,
    batch_tokens: int | None = None,
    precision: str = "fp32",
) -> list[Prediction]:
    """One prediction a row of a prepared split; the model's mode is left as it was found."""
    was_training = model.training
    model.eval()
    found: list[Prediction | None] = [None] * len(rows)
    for numbers in Batching(rows["length"][:], batch_size, batch_tokens).sorted():
        batch = task.collate(rows[numbers], processor).to(model.device)
        with arithmetic(model.device.type, precision):
            answers = task.predict(model, batch)
        for number, answer in zip(numbers, answers, strict=True):
            found[number] = answer
    model.train(was_training)
    return [answer for answer in found if answer is not None]
