"""Which metric chooses the state that is kept, and whether it can: known before a model is loaded."""

from luthier.errors import RecipeError, did_you_mean
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import metrics_of
from luthier.tasks import Task
from luthier.training.settings import Training

LAST = "last"


def watched(task: Task, settings: Training, *, has_validation: bool) -> Metric | None:
    """The metric that chooses the best state; None where the last state is wanted, or nothing can be watched.

    Raises RecipeError where `best` names no metric of a resolved task, or there is nothing to measure it on.
    """
    if settings.best == LAST:
        return None
    if not has_validation:
        if settings.patience is not None or settings.best != "auto":
            raise RecipeError("training.best and training.patience need validation rows; set data.validation")
        return None
    metrics = {metric.name: metric for metric in metrics_of(task.metrics)}
    name = "loss" if settings.best == "auto" else settings.best
    if name not in metrics:
        known = ", ".join(metrics)
        raise RecipeError(f"training.best: no metric is called {name}{did_you_mean(name, metrics)} ({known}, last)")
    return metrics[name]
