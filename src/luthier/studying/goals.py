"""What trials are judged by: metrics of the task, and what a run costs; turned so that lower is better."""

import math
from collections.abc import Mapping, Sequence

from luthier.errors import RecipeError, TrainingError
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import metrics_of
from luthier.searching.settings import Search
from luthier.studying.standing import COSTS, Goal
from luthier.tasks import Task

AUTO = "auto"


def goals_of(search: Search, task: Task) -> tuple[Goal, ...]:
    """The objectives of a search, of a task that its rows have settled: metrics first, as the first one names a winner.

    Raises RecipeError where one is neither a metric of the task nor a cost, or is said twice.
    """
    known = {metric.name: metric for metric in metrics_of(task.metrics)}
    names = [next(iter(known)) if name == AUTO else name for name in search.objectives]
    for name in names:
        if name not in known and name not in COSTS:
            raise RecipeError(f"search.objectives: {name} is none; known: {', '.join((*known, *COSTS))}")
    if len(set(names)) < len(names):
        raise RecipeError(f"search.objectives: {', '.join(names)}: one is said twice")
    ordered = sorted(names, key=lambda name: name in COSTS)
    return tuple(Goal(name, name in known and known[name].higher_is_better) for name in ordered)


def metrics_for(goals: Sequence[Goal], task: Task) -> tuple[Metric, ...]:
    """The metrics among them."""
    return tuple(metric for metric in metrics_of(task.metrics) if metric.name in {goal.name for goal in goals})


def turned(goals: Sequence[Goal], figures: Mapping[str, float]) -> tuple[float, ...]:
    """The objectives' values as the history has them.

    Raises TrainingError where one is not defined, as a loss that is no number.
    """
    for goal in goals:
        if not math.isfinite(figures[goal.name]):
            raise TrainingError(f"{goal.name} is {figures[goal.name]} on the validation rows")
    return tuple(-figures[goal.name] if goal.higher_is_better else figures[goal.name] for goal in goals)


def excess(constraints: Mapping[str, float], figures: Mapping[str, float]) -> tuple[float, ...]:
    """By how much each constraint is broken, as a share of what is allowed; 0 or less: it holds."""
    return tuple(figures[name] / most - 1 for name, most in constraints.items())
