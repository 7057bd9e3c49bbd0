"""The winner against the recipe as it stands: full runs under the same seeds, judged by the same rows.

Two things make their difference uncertain: the seeds, and the rows that judge. With D_s the paired difference of seed s
over n seeds, the variance of the mean is s^2(D) / n + V, where V is that of the mean over resamples of the rows, the
same for all seeds: crossed random effects, whose sum counts the part of each seed's rows twice and so errs on the wide
side (Owen 2007, "The pigeonhole bootstrap", https://doi.org/10.1214/07-AOAS122). The interval is Student's, with the
degrees of freedom of Satterthwaite 1946, https://doi.org/10.2307/3002019. Of one seed only the rows are known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from luthier.evaluation.bootstrap import paired_differences
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import Score
from luthier.evaluation.student import LEVEL

Pair = tuple[np.ndarray, np.ndarray]
"""Statistics of the same rows, ours and theirs."""
Outcome = Literal["won", "nothing", "lost", "unknown"]


@dataclass(frozen=True)
class Side:
    """The full runs of one recipe, a seed each."""

    score: Score
    """The mean over seeds; its 95 % interval is Student's, and is that of seeds alone."""
    scores: Mapping[int, float]
    """By seed."""
    duration_s: float
    """Seconds of training of a run, the mean."""


@dataclass(frozen=True)
class Difference:
    """The winner's score less the default's, the mean over seeds."""

    score: Score
    p_value: float
    """How often chance alone, of seeds and rows, would part them as far; two-sided."""
    num_seeds: int


@dataclass(frozen=True)
class Verdict:
    """What the search came to, by rows that it had not seen, where there are such."""

    metric: str
    higher_is_better: bool
    split: str
    num_rows: int
    winner: Side
    default: Side | None
    """None where the recipe as it stands is itself the winner, or none of its runs came to its end."""
    difference: Difference | None
    """None where there are no two runs of one seed."""
    refused: Mapping[str, str]
    """Final runs that did not come to their end, and why."""

    @property
    def gain(self) -> Score | None:
        """The difference turned so that above 0 the winner is better."""
        if self.difference is None:
            return None
        found = self.difference.score
        return found if self.higher_is_better else Score(-found.value, -found.high, -found.low)

    @property
    def outcome(self) -> Outcome:
        gain = self.gain
        if gain is None or math.isnan(gain.low):
            return "unknown"
        return "won" if gain.low > 0 else "lost" if gain.high < 0 else "nothing"


def difference(metric: Metric, pairs: Sequence[Pair]) -> Difference:
    """The mean paired difference of a metric over seeds, each with the same rows in the same order."""
    found = [metric.value(ours) - metric.value(theirs) for ours, theirs in pairs]
    drawn = np.mean([paired_differences(metric, *pair) for pair in pairs], axis=0)
    defined, num_seeds, num_rows = drawn[~np.isnan(drawn)], len(pairs), len(pairs[0][0])
    of_rows = float(defined.var(ddof=1)) if len(defined) > 1 else math.nan
    of_seeds = variance(found) / num_seeds if num_seeds > 1 else 0.0
    freedoms = (max(1, num_rows - 1), max(1, num_seeds - 1))
    return _placed(fmean(found), (of_rows, of_seeds), freedoms, num_seeds)


def _placed(value: float, parts: Sequence[float], freedoms: Sequence[int], num_seeds: int) -> Difference:
    """A mean with the interval and the test of a variance of several parts."""
    total = sum(parts)
    if total == 0:  # all alike, in every resample
        return Difference(Score(value, value, value), float(value == 0), num_seeds)
    freedom = total**2 / sum(part**2 / own for part, own in zip(parts, freedoms, strict=True))
    error = math.sqrt(total)
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    p_value = 2 * float(stdtr(freedom, -abs(value) / error))
    return Difference(Score(value, value - half, value + half), p_value, num_seeds)
