"""Chooses the sampler by the space and by how many full runs the budget holds (docs/search.md)."""

from luthier.component import find
from luthier.searching.choosing import choose
from luthier.searching.samplers import Sampler
from luthier.trials.history import History, Terms, Values
from luthier.trials.space import Space


class Auto(Sampler):
    """Chosen by the space and the budget."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        raise AssertionError("a search asks the resolved sampler")

    def resolved(self, space: Space, terms: Terms) -> Sampler:
        sampler = find("samplers", choose(space, terms).sampler)()
        assert isinstance(sampler, Sampler)
        return sampler
