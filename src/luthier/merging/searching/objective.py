"""What is made large: each task's score against that of the run that was tuned for it, over all tasks."""

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Literal

from luthier.evaluation.metrics import Metric
from luthier.merging.searching.log import Scores

Over = Literal["mean", "minimum"]
"""The tasks' mean, or the worst of them."""


def relative(metric: Metric, score: float, own: float) -> float:
    """1 where a merge is as good as the run itself, more where it is better.

    The ratio of scores; of losses 1 and the share that it saves; where the run's own is 0, 1 and the difference.
    """
    if math.isnan(score):
        return -math.inf
    if own > 0:
        return score / own if metric.higher_is_better else 1 + (own - score) / own
    return 1 + (score - own if metric.higher_is_better else own - score)


def each_relative(metrics: Mapping[str, Metric], scores: Scores, own: Scores) -> dict[str, float]:
    """Of each task, in the metric that it is judged by."""
    return {
        task: relative(metric, scores[task][metric.name], own[task][metric.name]) for task, metric in metrics.items()
    }


def objective(metrics: Mapping[str, Metric], scores: Scores, own: Scores, *, over: Over) -> float:
    """One number of all tasks."""
    found = each_relative(metrics, scores, own).values()
    return fmean(found) if over == "mean" else min(found)
