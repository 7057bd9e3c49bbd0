"""Where in a space an acquisition is highest: many points of a Sobol sequence and around the best trials, the best few
of them climbed by their gradient (L-BFGS), whatever is no range put back to its levels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from luthier.searching.samplers._cube import Cube, Matrix

Vector = NDArray[np.float64]

NUM_EVERYWHERE, NUM_AROUND, NUM_CLIMBS_NEAR, NUM_CLIMBS_FAR = 1024, 64, 2, 4
"""Points of the sequence, and around each of the best trials; climbs from the ones and from the others."""
WIDTHS = (0.02, 0.1)
"""Deviations of the points around the best trials."""
APART = 0.1
"""Least distance along some axis between two starts of a climb."""


def best_first(
    cube: Cube,
    values: Callable[[Matrix], Vector],
    slopes: Callable[[Vector], tuple[float, Vector]],
    around: Matrix,
    *,
    seed: int,
) -> Matrix:
    """Places by falling value. `values` of places [m, axes]; `slopes`: value and derivatives of one place."""
    from scipy.optimize import minimize

    random = np.random.default_rng(seed)
    places = cube.snapped(np.vstack([everywhere(cube.num_axes, seed=seed), *_neighbours(around, random)]))
    order = np.argsort(-values(places), kind="stable")
    # Near the best trials many points are good; the climbs from elsewhere are what finds another optimum.
    is_near = order >= NUM_EVERYWHERE
    near, far = _apart(places, order[is_near], NUM_CLIMBS_NEAR), _apart(places, order[~is_near], NUM_CLIMBS_FAR)
    starts = places[[*near, *far]]

    def loss(place: Vector) -> tuple[float, Vector]:
        value, slope = slopes(place)
        return -value, -slope

    climbed = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=cube.bounds(start), options={"maxiter": 40}).x
        for start in starts
    ]
    found = np.vstack([cube.snapped(np.array(climbed)), places[order]])
    return found[np.argsort(-values(found), kind="stable")]


def everywhere(num_axes: int, *, seed: int, num: int = NUM_EVERYWHERE) -> Matrix:
    """So many points of a scrambled Sobol sequence."""
    from scipy.stats import qmc

    return np.asarray(qmc.Sobol(num_axes, scramble=True, rng=seed).random(num))


def _neighbours(around: Matrix, random: np.random.Generator) -> list[Matrix]:
    """Near each trial in all axes; and as it is, but for one axis."""
    found = []
    for point in around:
        for width in WIDTHS:
            found.append(np.clip(point + random.normal(0, width, (NUM_AROUND, len(point))), 0, 1))
        one_changed = np.tile(point, (NUM_AROUND, 1))
        axes = random.integers(len(point), size=NUM_AROUND)
        one_changed[np.arange(NUM_AROUND), axes] = random.random(NUM_AROUND)
        found.append(one_changed)
    return found


def _apart(places: Matrix, order: NDArray[np.int64], num: int) -> list[int]:
    """The best places, no two of them close to each other."""
    chosen: list[int] = []
    for each in order[:200]:
        if all(np.abs(places[each] - places[other]).max() > APART for other in chosen):
            chosen.append(int(each))
        if len(chosen) == num:
            break
    return chosen
