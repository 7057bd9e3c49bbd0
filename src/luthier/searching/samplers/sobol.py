"""Points of a Sobol sequence: they fill the space more evenly than random ones.

A trial takes the point of its own number. The sequence is scrambled (Owen 1998) by the search's seed, which is the
trial's without its number. Sobol 1967; directions of Joe and Kuo 2008, https://web.maths.unsw.edu.au/~fkuo/sobol.
"""

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._draws import evenly
from luthier.trials.history import History, Values
from luthier.trials.space import Space


class Sobol(Sampler):
    """Points that fill the space evenly, none twice."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        return evenly(space, history, seed=seed)
