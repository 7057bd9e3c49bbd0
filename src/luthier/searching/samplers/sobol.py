"""Points of a Sobol sequence: they fill the space more evenly than random ones.

A trial takes the point of its own number. The sequence is scrambled (Owen 1998), so that another seed of the search
gives other points; Sobol 1967, Joe and Kuo 2008, https://web.maths.unsw.edu.au/~fkuo/sobol.
"""

from collections.abc import Iterator

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._untried import first_untried
from luthier.searching.samplers.random import MOST_DRAWS
from luthier.trials.history import History, Values
from luthier.trials.space import Space


class Sobol(Sampler):
    """Points that fill the space evenly, none twice."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        number = len(history.trials)
        return first_untried(space, history, sequence(space, scramble=abs(seed - number), start=number))


def sequence(space: Space, *, scramble: int, start: int = 0, num: int = MOST_DRAWS) -> Iterator[Values]:
    """The settings at so many points of the sequence, from number `start` on."""
    from scipy.stats import qmc

    points = qmc.Sobol(len(space.parameters), scramble=True, rng=scramble)
    if start:
        points.fast_forward(start)
    return (space.values(points.random(1)[0].tolist()) for _ in range(num))
