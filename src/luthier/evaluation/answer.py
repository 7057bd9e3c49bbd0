"""Answers to rows that nobody batched: in a task's words, or the loss of each row's target."""

from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from luthier.data.spool import batches
from luthier.evaluation.predict import predict
from luthier.models.device import micro_batch_tokens
from luthier.models.processor import Processor
from luthier.tasks import Task

BATCH_SIZE = 32


def answer(
    model: PreTrainedModel, processor: Processor, task: Task, rows: Dataset, *, losses: bool = False
) -> list[dict[str, Any]]:
    """Each row's answer; with `losses`, in its place the mean loss of its target and what it was divided by."""
    prepared = task.prepare(rows, processor)
    if not losses and "target" in prepared.column_names:
        prepared = prepared.remove_columns("target")  # nobody asks how right they are
    found = predict(model, task, prepared, processor, answers=not losses, **usual(model))
    if losses:
        return [{"loss": each.loss / max(each.count, 1), "count": each.count} for each in found]
    sources = ({name: piece[name][i] for name in piece} for piece in batches(rows) for i in range(len(_any(piece))))
    return [task.describe(prediction, row) for prediction, row in zip(found, sources, strict=True)]


def usual(model: PreTrainedModel) -> dict[str, Any]:
    """In fp32, whatever the run was trained in; a base that is held in bf16 computes in bf16."""
    precision = "bf16" if model.dtype == torch.bfloat16 else "fp32"
    return {"batch_size": BATCH_SIZE, "batch_tokens": micro_batch_tokens(model.device.type), "precision": precision}


def _any(columns: dict[str, list[Any]]) -> list[Any]:
    return next(iter(columns.values()))
