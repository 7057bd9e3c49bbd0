"""What a search bought: the best settings against uniform weights on rows that chose neither, with the interval of the
difference. Rows are drawn anew for each task by itself: tasks share none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from luthier.evaluation.bootstrap import ends, paired_difference, paired_differences
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import Score
from luthier.merging.scoring.scores import Judged
from luthier.report.words import interval, number


@dataclass(frozen=True)
class Verdict:
    """On the test rows."""

    num_rows: Mapping[str, int]
    """Of each task."""
    own: Mapping[str, float]
    """What each run itself scores, in the metric that its task is judged by."""
    uniform: Mapping[str, float]
    searched: Mapping[str, float]
    differences: Mapping[str, Score]
    """Searched minus uniform, by task; above 0 where the search is better, whatever the metric."""
    gain: Score
    """The mean over tasks of these differences over the run's own score."""

    @property
    def is_real(self) -> bool:
        """Whether the gain is more than the draw of test rows explains."""
        return self.gain.low > 0


def verdict(
    metrics: Mapping[str, Metric], own: Mapping[str, Judged], uniform: Mapping[str, Judged], best: Mapping[str, Judged]
) -> Verdict:
    """Of what was judged on the same rows."""
    differences, drawn, gains = dict[str, Score](), [], []
    for seed, (task, metric) in enumerate(metrics.items()):
        mine, theirs = best[task].statistics[metric.name], uniform[task].statistics[metric.name]
        sign = 1 if metric.higher_is_better else -1
        value, low, high = (sign * each for each in paired_difference(metric, mine, theirs, seed=seed))
        differences[task] = Score(value, *sorted((low, high)))
        scale = sign / (abs(own[task].values[metric.name]) or 1.0)
        drawn.append(scale * paired_differences(metric, mine, theirs, seed=seed))
        gains.append(abs(scale) * value)
    of = {
        name: {task: each[task].values[metric.name] for task, metric in metrics.items()}
        for name, each in (("own", own), ("uniform", uniform), ("searched", best))
    }
    num_rows = {task: len(best[task].statistics[metric.name]) for task, metric in metrics.items()}
    return Verdict(num_rows, **of, differences=differences, gain=Score(fmean(gains), *ends(np.mean(drawn, axis=0))))


def told(found: Verdict | None, *, is_uniform: bool, gained: float) -> list[str]:
    """What follows, in words; `gained` is what the search found on the rows that it chose by."""
    if is_uniform:
        return ["The search bought nothing: no settings did better than equal weights on the rows that it chose by."]
    chose = f"In what it searched for, 1 being the runs' own scores, it gained {number(gained)} on the rows it chose by"
    if found is None:
        return [f"{chose}. There are no test rows, so whether that is luck is not known: give data.test."]
    rows = sum(found.num_rows.values())
    gain = f"{number(found.gain.value)} {interval(found.gain)}"
    beside = f"in the tasks' mean on {rows:,} test rows, which chose nothing, {gain}"
    if found.is_real:
        return [f"{chose}; {beside}. It is better than equal weights, beyond the draw of rows."]
    if found.gain.high < 0:
        return [f"{chose}; {beside}. It chose by luck, and is worse than equal weights: take those."]
    if math.isclose(found.gain.value, 0, abs_tol=1e-9) or found.gain.value < 0:
        return [f"{chose}; {beside}. The search bought nothing: take equal weights, or give it more rows to choose by."]
    return [f"{chose}; {beside}. That may be luck: so few test rows cannot tell it from equal weights."]
