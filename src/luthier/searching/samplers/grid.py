"""Every setting once: all combinations of the options, ranges of numbers in evenly placed levels."""

from typing import Annotated

from pydantic import Field

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._untried import untried
from luthier.trials.history import History, Values
from luthier.trials.space import Space


class Grid(Sampler):
    """Every setting once, in a fixed order; ranges in `num` levels."""

    num: Annotated[int, Field(ge=1)] = 3
    """Most levels of a range, evenly placed on its own scale; of whole numbers all, where they are fewer."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        return next(untried(space, history, space.grid(self.num)), None)
