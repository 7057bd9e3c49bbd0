"""Settings drawn at random. Bergstra and Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html."""

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._draws import at_random
from luthier.trials.history import History, Values
from luthier.trials.space import Space


class Random(Sampler):
    """Drawn evenly from the space, none twice."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        return at_random(space, history, seed=seed)
