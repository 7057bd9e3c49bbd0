"""A split's predictions and its scores, with no more generated than its metrics read."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from luthier.evaluation.metrics import Metric
from luthier.evaluation.predict import predict
from luthier.evaluation.score import Scores, score, value
from luthier.models.processor import Processor
from luthier.tasks import Prediction, Task


def judge(
    model: PreTrainedModel,
    task: Task,
    rows: Dataset,
    processor: Processor,
    metrics: Sequence[Metric],
    **how: Any,
) -> tuple[Scores, list[Prediction], Sequence[Any]]:
    """Each metric's score with its interval, the predictions, and what they were compared with."""
    predictions, references = _answered(model, task, rows, processor, metrics, how)
    return score(metrics, predictions, references), predictions, references


def values(
    model: PreTrainedModel,
    task: Task,
    rows: Dataset,
    processor: Processor,
    metrics: Sequence[Metric],
    **how: Any,
) -> dict[str, float]:
    """Each metric's value alone, by its name."""
    predictions, references = _answered(model, task, rows, processor, metrics, how)
    return {metric.name: value(metric, predictions, references) for metric in metrics}


def cheap(task: Task, metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics that need nothing generated."""
    return tuple(metric for metric in metrics if not (task.generates and metric.reads_answers))


def _answered(
    model: PreTrainedModel,
    task: Task,
    rows: Dataset,
    processor: Processor,
    metrics: Sequence[Metric],
    how: dict[str, Any],
) -> tuple[list[Prediction], Sequence[Any]]:
    answers = any(metric.reads_answers for metric in metrics)
    return predict(model, task, rows, processor, answers=answers, **how), task.references(rows)
