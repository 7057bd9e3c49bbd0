"""What the runs of a curve came to: each one's score, and by size their mean over the splits with its interval."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from luthier.curves.grid import Cell
from luthier.errors import RunError
from luthier.evaluation.score import Score
from luthier.evaluation.student import mean_with_interval
from luthier.report.evidence import Evidence
from luthier.run import Run

JUDGED = "test"


@dataclass(frozen=True)
class Result:
    """One run's figures."""

    cell: Cell
    score: float
    num_rows: int
    """Rows that it learnt from."""
    num_steps: int
    duration_s: float
    """Seconds of training, without evaluations."""


@dataclass(frozen=True)
class Point:
    """All runs of a size."""

    size: int
    score: Score
    """The mean over the splits; its 95 % interval is Student's, and is that of the draws of training rows alone."""
    scores: Mapping[int, float]
    """Of each split."""
    num_rows: float
    num_steps: float
    duration_s: float
    """Means over the splits."""


@dataclass(frozen=True)
class Scale:
    """The metric that judges a curve; what falls with examples is its error: what a score lacks to 1, or a loss."""

    metric: str
    higher_is_better: bool

    @classmethod
    def of(cls, run: Run) -> "Scale":
        """That of a run."""
        main = Evidence.of(run).main
        return cls(main.name, main.higher_is_better)

    def turned(self, value: float) -> float:
        """A score's error, or an error's score."""
        return 1 - value if self.higher_is_better else value

    def score_of(self, error: Score) -> Score:
        """An error with its interval, as a score."""
        ends = [self.turned(error.low), self.turned(error.high)]
        return Score(self.turned(error.value), *(ends[::-1] if self.higher_is_better else ends))


def result(cell: Cell, run: Run) -> Result:
    """The figures of a run that came to its end.

    Raises RunError where its test rows give no score.
    """
    evidence = Evidence.of(run)
    score = evidence.score(JUDGED)
    if score is None:
        raise RunError(f"{run.folder}: {evidence.main.name} is not defined on the test rows; give more of them")
    trained = evidence.last("trained")
    return Result(cell, score.value, evidence.rows["train"], trained["steps"], trained["duration_s"])


def points(results: Sequence[Result], scale: Scale) -> list[Point]:
    """By size, in rising order."""
    by_size = defaultdict[int, list[Result]](list)
    for each in sorted(results, key=lambda each: (each.cell.size, each.cell.split)):
        by_size[each.cell.size].append(each)
    return [_point(size, own, scale) for size, own in by_size.items()]


def _point(size: int, own: Sequence[Result], scale: Scale) -> Point:
    error = mean_with_interval([scale.turned(each.score) for each in own])
    low = error.low if math.isnan(error.low) else max(0.0, error.low)
    bounded = Score(error.value, low, error.high)
    return Point(
        size=size,
        score=scale.score_of(bounded),
        scores={each.cell.split: each.score for each in own},
        num_rows=fmean(each.num_rows for each in own),
        num_steps=fmean(each.num_steps for each in own),
        duration_s=fmean(each.duration_s for each in own),
    )
