"""Settings drawn at random. Bergstra and Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html."""

from collections.abc import Iterator

import numpy as np

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._untried import first_untried
from luthier.trials.history import History, Values
from luthier.trials.space import Space

MOST_DRAWS = 100
"""Before what is left of a finite space is looked through in order."""


class Random(Sampler):
    """Drawn evenly from the space, none twice."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        return first_untried(space, history, draws(space, seed=seed))


def draws(space: Space, *, seed: int, num: int = MOST_DRAWS) -> Iterator[Values]:
    """So many settings, drawn evenly and independently."""
    random = np.random.default_rng(seed)
    return (space.values(random.random(len(space.parameters)).tolist()) for _ in range(num))
