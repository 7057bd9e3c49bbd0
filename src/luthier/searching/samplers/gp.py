"""Bayesian optimisation: a Gaussian process of what a setting scores, and the place that an acquisition prefers.

Jones, Schonlau and Welch 1998, https://doi.org/10.1023/A:1008306431147. The process sees every rung of every trial and
speaks of the highest one (`_gaussian_process.py`); trials that run count as if they had scored what is expected of them
(Ginsbourger et al. 2010, kriging believer). So do those that wait, when the new trial begins with a short look: each of
them may go on, and a look at the same place would say nothing new. Constraints have a process each, and the acquisition
is multiplied by the probability that they hold (Gardner et al. 2014, https://proceedings.mlr.press/v32/gardner14.html).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._acquisitions import Valued, bound, log_ei, log_pi
from luthier.searching.samplers._cube import Cube
from luthier.searching.samplers._draws import evenly
from luthier.searching.samplers._maximised import best_first
from luthier.searching.samplers._optuna import ask
from luthier.searching.samplers._scalar import as_one
from luthier.searching.samplers._seen import Point, seen
from luthier.searching.samplers._surrogate import Surrogate
from luthier.searching.samplers._untried import first_untried
from luthier.trials.history import History, Values
from luthier.trials.space import Space

Vector = NDArray[np.float64]


class Gp(Sampler):
    """A Gaussian process of all trials and rungs, asked for the most promising setting."""

    learns: ClassVar[bool] = True

    acquisition: Literal["log-ei", "ucb", "pi"] = "log-ei"
    """Expected improvement by its logarithm, an upper confidence bound (under constraints: the former), or the
    probability of improvement."""
    width: Annotated[float, Field(gt=0)] = 2.0
    """Of the confidence bound, in deviations: the wider, the more it explores."""
    margin: Annotated[float, Field(ge=0)] = 0.01
    """Least improvement that counts, in deviations of what was scored: an optimum is not polished without end."""
    num_even: Annotated[int, Field(ge=1)] | None = None
    """Full runs that fill the space evenly before the process is asked, or their worth in short looks, or twice as many
    looks; one and a half as many as parameters, and one, where it is not said."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        found = seen(space, history, "every")
        if self._is_early(space, history, found.points):
            return evenly(space, history, seed=seed)
        if found.num_objectives > 1 and self.acquisition == "log-ei":
            return self._by_hypervolume(space, history, seed=seed)
        points = as_one(found.points, seed=seed) if found.num_objectives > 1 else found.points
        cube = Cube(space)
        to_come = (*found.pending, *found.waiting) if history.is_for_look else found.pending
        model = Surrogate.of(cube, points, to_come)
        value = self._improvement if model.limits and self.acquisition == "ucb" else self._value
        places = best_first(
            cube, lambda at: model.values(at, value), lambda at: model.slopes(at, value), model.leaders, seed=seed
        )
        distinct = dict.fromkeys(map(tuple, places.tolist()))
        return first_untried(space, history, (space.values(place) for place in distinct), seed=seed)

    def _is_early(self, space: Space, history: History, points: Sequence[Point]) -> bool:
        """Whether too little is known to ask the process."""
        least = self.num_even or 1 + 3 * len(space.parameters) // 2
        num_settings = len({tuple(sorted(point.values.items())) for point in points})
        spent = [trial.resource for trial in (*history.earlier, *history.trials)]
        return num_settings < 2 or (num_settings < 2 * least and sum(spent) < least * max(spent))

    def _by_hypervolume(self, space: Space, history: History, *, seed: int) -> Values | None:
        """Of several objectives: the most expected improvement of the volume that the front dominates."""
        proposals = ask(
            space,
            seen(space, history, "last"),
            lambda samplers: samplers.GPSampler(seed=seed % 2**32, n_startup_trials=1),
            num=1,
        )
        return first_untried(space, history, proposals, seed=seed)

    def _value(self, mean: Vector, deviation: Vector, best: float) -> Valued:
        if self.acquisition == "ucb":
            return bound(mean, deviation, self.width)
        if self.acquisition == "pi":
            return log_pi(mean, deviation, best - self.margin)
        return self._improvement(mean, deviation, best)

    def _improvement(self, mean: Vector, deviation: Vector, best: float) -> Valued:
        """A logarithm, as the probability that constraints hold is, to which it is added."""
        return log_ei(mean, deviation, best - self.margin)
