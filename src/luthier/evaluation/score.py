"""Predictions against references: every metric of a task, each with its interval."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import TypeAdapter

from luthier.component import Slot
from luthier.evaluation.bootstrap import interval
from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction

_METRICS = TypeAdapter(tuple[Annotated[Metric, Slot("metrics")], ...])


@dataclass(frozen=True)
class Score:
    """A metric's value with its 95 % interval; all NaN where it is not defined for these rows."""

    value: float
    low: float
    high: float


Scores = dict[str, Score]


def metrics_of(names: Sequence[str | dict[str, Any]]) -> tuple[Metric, ...]:
    """The metrics a task names."""
    return _METRICS.validate_python(tuple(names))


def score(metrics: Sequence[Metric], predictions: Sequence[Prediction], references: Sequence[Reference]) -> Scores:
    """Every metric's score on these rows, by the metric's name."""
    return {metric.name: Score(*interval(metric, metric.rows(predictions, references))) for metric in metrics}


def value(metric: Metric, predictions: Sequence[Prediction], references: Sequence[Reference]) -> float:
    """One metric's value alone, without the cost of an interval."""
    return metric.value(metric.rows(predictions, references))


def as_json(scores: Scores) -> dict[str, dict[str, float | None]]:
    """Scores as metrics.json holds them; what is not defined is null."""
    return {
        name: {key: None if number != number else number for key, number in asdict(score).items()}
        for name, score in scores.items()
    }
