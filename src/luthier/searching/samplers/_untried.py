"""What has not been tried yet. A run's seed is no parameter: a setting that was tried says nothing new."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from luthier.trials.history import History, Values
from luthier.trials.space import Space

MOST_DRAWS = 100
"""Before what is left of a finite space is looked through in order."""


def untried(space: Space, history: History, proposals: Iterable[Values]) -> Iterator[Values]:
    """Those of the proposals that no trial of this search has."""
    tried = {_key(trial.values) for trial in history.trials}
    return (values for values in proposals if _key(values) not in tried)


def first_untried(space: Space, history: History, proposals: Iterable[Values], *, seed: int) -> Values | None:
    """The first proposal that is new; where all are old, one drawn at random, or the first of the space, or None."""
    found = next(untried(space, history, chain(proposals, _drawn(space, seed=seed))), None)
    if found is None and all(parameter.domain.num_levels for parameter in space.parameters):
        found = next(untried(space, history, space.grid()), None)
    return found


def _drawn(space: Space, *, seed: int) -> Iterator[Values]:
    """Settings drawn evenly and independently."""
    random = np.random.default_rng(seed)
    return (space.values(random.random(len(space.parameters)).tolist()) for _ in range(MOST_DRAWS))


def _key(values: Values) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in values.items())
