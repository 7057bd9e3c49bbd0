"""What a curve says of rows that are not there yet, if anything: it may be flat, noisy, or too short."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from luthier.curves.points import Point, Scale
from luthier.curves.power_law import PowerLaw, extrapolated, fit, weights_of
from luthier.evaluation.score import Score
from luthier.evaluation.student import mean_with_interval

FEWEST = 3
"""Sizes that a curve of three numbers needs, and splits without which chance has no measure."""
LITTLE = 0.1
"""Share of the error that is little: a gain that is surely less is none."""
FURTHER = (2, 4)
"""Times the largest size that a curve is drawn on to; further on, nothing holds it."""

Kind = Literal["few sizes", "few splits", "falls", "flat", "noisy", "vague", "level", "rises"]


@dataclass(frozen=True)
class Forecast:
    """A score at a size that was not tried."""

    size: int
    score: Score


@dataclass(frozen=True)
class Outlook:
    """A curve's end, and what lies beyond it."""

    kind: Kind
    gain: Score | None
    """Error that the largest size has less than the smallest, paired by split; None where there are no such pairs."""
    law: PowerLaw | None = None
    forecasts: tuple[Forecast, ...] = ()
    """Empty where the curve says nothing of what is beyond it."""


def outlook(points: Sequence[Point], scale: Scale) -> Outlook:
    """What the points of a curve, by rising size, allow to say."""
    whole = sorted(set.intersection(*(set(point.scores) for point in points))) if points else []
    errors = np.array([[scale.turned(point.scores[split]) for split in whole] for point in points])
    gain = mean_with_interval((errors[0] - errors[-1]).tolist()) if whole and len(points) > 1 else None
    if len(points) < FEWEST:
        return Outlook("few sizes", gain)
    if gain is None or len(whole) < FEWEST:
        return Outlook("few splits", gain)
    first, last = errors[0].mean(), errors[-1].mean()
    if gain.high < 0:
        return Outlook("falls", gain)
    if gain.low <= 0:
        return Outlook("flat" if gain.high <= LITTLE * first else "noisy", gain)
    sizes = np.array([float(point.size) for point in points])
    targets = tuple(times * points[-1].size for times in FURTHER)
    beyond = extrapolated(sizes, errors, targets)
    kind: Kind = "rises"
    if beyond[0].high - beyond[0].low > gain.value:
        kind = "vague"
    elif last - beyond[0].low <= LITTLE * last:
        kind = "level"
    law = fit(sizes, errors.mean(axis=1), weights_of(errors))
    found = (Forecast(size, scale.score_of(error)) for size, error in zip(targets, beyond, strict=True))
    return Outlook(kind, gain, law, tuple(found))
