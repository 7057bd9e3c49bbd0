"""What a variant came to: its score, what it learnt, what it cost, and how sure its distance from the best one is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import RunError
from luthier.evaluation.bootstrap import paired_difference
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import Score
from luthier.report.evidence import Evidence
from luthier.run import Run
from luthier.tasks import Prediction


@dataclass(frozen=True)
class Outcome:
    """A variant's figures."""

    name: str
    metric: str
    split: str
    score: Score
    num_trainable: int
    num_parameters: int
    file_bytes: int
    """What was learnt, on disk: the adapter, or the whole model where the method keeps nothing apart."""
    peak_bytes: int
    """Most memory that its process held."""
    duration_s: float
    """Seconds of training, without evaluations."""
    num_steps: int
    behind: Score | None = None
    """How far the score is from the best one's, on the same rows; None of the best itself, and where none is known."""

    @property
    def is_as_good(self) -> bool:
        """Whether these rows cannot tell it from the best."""
        return self.behind is None or not (self.behind.low > 0 or self.behind.high < 0)


def outcome(name: str, run: Run) -> Outcome:
    """The figures of a run that came to its end.

    Raises RunError where it was judged by no rows.
    """
    evidence = Evidence.of(run)
    split = evidence.judged
    score = evidence.score(split) if split else None
    if split is None or score is None:
        raise RunError(f"{run.folder}: no rows judge it; give data.test or data.validation")
    model, trained = evidence.last("model"), evidence.last("trained")
    learnt = run.adapter_folder if run.adapter_folder.is_dir() else run.model_folder
    return Outcome(
        name=name,
        metric=evidence.main.name,
        split=split,
        score=score,
        num_trainable=model["trainable"],
        num_parameters=model["parameters"],
        file_bytes=sum(file.stat().st_size for file in learnt.glob("*.safetensors")),
        peak_bytes=trained["peak_bytes"],
        duration_s=trained["duration_s"],
        num_steps=trained["steps"],
    )


def ranked(outcomes: Sequence[Outcome], folder: Path) -> list[Outcome]:
    """The best first, each with its distance from the best on the rows that judge them."""
    if not outcomes:
        return []
    metric = Evidence.of(Run.open(folder / outcomes[0].name)).main
    sign = 1 if metric.higher_is_better else -1
    best, *others = sorted(outcomes, key=lambda each: -sign * each.score.value)
    stats = row_statistics(metric, Run.open(folder / best.name), best.split)
    return [best, *(_placed(each, metric, stats, folder) for each in others)]


def _placed(each: Outcome, metric: Metric, best: np.ndarray, folder: Path) -> Outcome:
    stats = row_statistics(metric, Run.open(folder / each.name), each.split)
    if stats.shape[:1] != best.shape[:1]:  # a variant may have other rows
        return each
    difference = Score(*paired_difference(metric, stats, best))
    return replace(each, behind=None if math.isnan(difference.value) else difference)


def row_statistics(metric: Metric, run: Run, split: str) -> np.ndarray:
    """The metric's statistics of each row, from the predictions that the run keeps."""
    lines = run.predictions(split)
    predictions = [Prediction(_plain(line["value"]), **_figures(line)) for line in lines]
    return metric.rows(predictions, [line["target"] for line in lines])


def _figures(line: dict[str, Any]) -> dict[str, Any]:
    return {"scores": tuple(line["scores"]), **{name: line[name] for name in ("loss", "count", "hits")}}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
