"""The scores of merged bodies on several tasks, each under the head that a run of that task has learnt.

A merge of bodies answers nothing by itself: a head belongs to its labels, and stays the run's own.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from numpy import ndarray
from rich.table import Table
from torch import Tensor

from luthier.errors import MergeError
from luthier.evaluation.answer import usual
from luthier.evaluation.metrics import Metric
from luthier.evaluation.predict import predict
from luthier.merging.parents.checkpoint import Checkpoint
from luthier.merging.scoring.subject import Subject, of_recipe, of_run
from luthier.report.words import number

TaskScores = dict[str, dict[str, float]]
"""Task -> metric -> value."""
OWN = "own"
"""What a table calls the run's own weights."""


@dataclass(frozen=True)
class Judged:
    """What a task says of some weights."""

    values: Mapping[str, float]
    """By the metric's name."""
    statistics: Mapping[str, Float[ndarray, "rows *statistics"]]
    """What each metric needs of each row; see `evaluation.metrics`."""


class Bench:
    """Tasks that merged bodies are judged by, loaded once."""

    def __init__(
        self,
        runs: Sequence[str | Path],
        split: str = "validation",
        limit: int | None = None,
        *,
        model: Path | None = None,
        device: str = "auto",
    ) -> None:
        """Of finished runs' folders; of a recipe's file too, where `model` is a folder that answers its task itself.

        At most `limit` rows of the split are judged, drawn once. Raises LuthierError where one cannot be loaded.
        """
        self.split = split
        self.subjects = dict[str, Subject]()
        for path in map(Path, runs):
            subject = _subject(path, model, limit, device)
            self.subjects[_named(subject, path, self.subjects)] = subject
        if not self.subjects:
            raise MergeError("a merge is judged by tasks: name the folders of finished runs")

    @property
    def mains(self) -> dict[str, Metric]:
        """What each task is judged by."""
        return {name: subject.main for name, subject in self.subjects.items()}

    def has(self, split: str) -> bool:
        """Whether every task has such rows."""
        return all(split in subject.splits for subject in self.subjects.values())

    def scores(self, tensors: Mapping[str, Tensor] | None = None, *, split: str | None = None) -> TaskScores:
        """Every metric of every task for these weights; without any, for each run's own."""
        return {name: dict(judged.values) for name, judged in self.judged(tensors, split=split).items()}

    def judged(self, tensors: Mapping[str, Tensor] | None = None, *, split: str | None = None) -> dict[str, Judged]:
        """The same, with what the metrics read of each row, for paired differences."""
        return {name: _judged(subject, tensors, split or self.split) for name, subject in self.subjects.items()}


def tensors_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All of a model, in memory."""
    return {name: checkpoint.read(name) for name in checkpoint.specs}


def side_by_side(bench: Bench, models: Mapping[str, Checkpoint]) -> dict[str, TaskScores]:
    """The scores of each run's own weights, and of each of these models, by its label."""
    return {OWN: bench.scores(), **{label: bench.scores(tensors_of(model)) for label, model in models.items()}}


def table(bench: Bench, found: Mapping[str, TaskScores], *, all_metrics: bool = False) -> Table:
    """A column for each model and a line for each task, in the metric that it is judged by, or for all metrics."""
    made = Table("task", "metric", *found, box=None, pad_edge=False)
    for column in made.columns[2:]:
        column.justify = "right"
    for task, subject in bench.subjects.items():
        for metric in subject.metrics if all_metrics else (subject.main,):
            made.add_row(task, metric.name, *(number(scores[task][metric.name]) for scores in found.values()))
    return made


def _named(subject: Subject, path: Path, taken: Mapping[str, Subject]) -> str:
    """The end of a run's path that tells it from the others."""
    parts = path.resolve().parts
    names = (subject.name, *("/".join(parts[-num:]) for num in range(2, len(parts) + 1)))
    return next(name for name in (*names, f"{subject.name} again") if name not in taken)


def _subject(path: Path, model: Path | None, limit: int | None, device: str) -> Subject:
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        return of_run(path, limit=limit, device=device)
    if model is None:
        raise MergeError(f"{path}: is a recipe; name the folder of a run of it, which has the head that answers")
    return of_recipe(path, model=model, limit=limit, device=device)


def _judged(subject: Subject, tensors: Mapping[str, Tensor] | None, split: str) -> Judged:
    task, rows, metrics = subject.task, subject.rows(split), subject.metrics
    answers = any(metric.reads_answers for metric in metrics)
    with nullcontext() if tensors is None else subject.wearing(tensors):
        how = usual(subject.model)
        predictions = predict(subject.model, task, rows, subject.processor, answers=answers, **how)
    references = task.references(rows)
    statistics = {metric.name: metric.rows(predictions, references) for metric in metrics}
    return Judged({metric.name: metric.value(statistics[metric.name]) for metric in metrics}, statistics)
