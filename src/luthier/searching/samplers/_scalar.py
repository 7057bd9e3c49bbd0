"""Several objectives as one, another one for each trial: ParEGO, Knowles 2006, https://doi.org/10.1109/TEVC.2005.851274.

max_i(w_i y_i) + 0.05 sum_i(w_i y_i), y between 0 and 1 over what was seen, weights w drawn evenly from those of sum 1.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from luthier.searching.samplers._seen import Point

SHARE_OF_SUM = 0.05


def as_one(points: Sequence[Point], *, seed: int) -> list[Point]:
    """The points with a single score."""
    scores = np.array([point.scores for point in points])
    least, most = scores.min(0), scores.max(0)
    weighted = (
        (scores - least)
        / np.maximum(most - least, 1e-12)
        * np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]))
    )
    found = weighted.max(1) + SHARE_OF_SUM * weighted.sum(1)
    return [replace(point, scores=(float(score),)) for point, score in zip(points, found, strict=True)]
