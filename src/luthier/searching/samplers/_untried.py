"""What has not been tried yet. A run's seed is no parameter: a setting that was tried says nothing new."""

from collections.abc import Iterable, Iterator

from luthier.trials.history import History, Values
from luthier.trials.space import Space


def untried(space: Space, history: History, proposals: Iterable[Values]) -> Iterator[Values]:
    """Those of the proposals that no trial of this search has."""
    tried = {_key(trial.values) for trial in history.trials}
    return (values for values in proposals if _key(values) not in tried)


def first_untried(space: Space, history: History, proposals: Iterable[Values]) -> Values | None:
    """The first proposal that is new; where all are old, the first of the space that is new, or None."""
    found = next(untried(space, history, proposals), None)
    if found is None and all(parameter.domain.num_levels for parameter in space.parameters):
        found = next(untried(space, history, space.grid()), None)
    return found


def _key(values: Values) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in values.items())
