"""Chooses the scheduler by the space and by how many full runs the budget holds (docs/search.md)."""

from collections.abc import Iterator

from luthier.component import find
from luthier.searching.choosing import choose
from luthier.searching.schedulers import Begin, Promote, Scheduler
from luthier.trials.history import History, Terms
from luthier.trials.space import Space


class Auto(Scheduler):
    """Chosen by the space and the budget."""

    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        raise AssertionError("a search asks the resolved scheduler")

    def resolved(self, space: Space, terms: Terms) -> Scheduler:
        chosen = choose(space, terms)
        scheduler = find("schedulers", chosen.scheduler).model_validate(chosen.settings)
        assert isinstance(scheduler, Scheduler)
        return scheduler
