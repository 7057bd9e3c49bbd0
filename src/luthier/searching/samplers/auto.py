"""Chooses the sampler by the space and by how many full runs the budget holds (docs/search.md)."""

from luthier.searching.choosing import choose, made_sampler
from luthier.searching.samplers import Sampler
from luthier.trials.history import History, Terms, Values
from luthier.trials.space import Space


class Auto(Sampler):
    """Chosen by the space and the budget."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        raise AssertionError("a search asks the resolved sampler")

    def resolved(self, space: Space, terms: Terms) -> Sampler:
        chosen = choose(space, terms)
        return made_sampler(chosen.sampler, chosen.of_sampler)
