"""Settings without a look at any score: drawn at random, or along a Sobol sequence."""

from collections.abc import Iterator

from luthier.searching.samplers._untried import MOST_DRAWS, first_untried
from luthier.trials.history import History, Values
from luthier.trials.space import Space


def at_random(space: Space, history: History, *, seed: int) -> Values | None:
    """Drawn evenly and independently; one that no trial has."""
    return first_untried(space, history, (), seed=seed)


def evenly(space: Space, history: History, *, seed: int) -> Values | None:
    """At the point of the sequence that has the new trial's number, or the next that no trial has."""
    number = len(history.trials)
    return first_untried(space, history, _sequence(space, scramble=abs(seed - number), start=number), seed=seed)


def _sequence(space: Space, *, scramble: int, start: int) -> Iterator[Values]:
    from scipy.stats import qmc

    points = qmc.Sobol(len(space.parameters), scramble=True, rng=scramble)
    if start:
        points.fast_forward(start)
    return (space.values(points.random(1)[0].tolist()) for _ in range(MOST_DRAWS))
