"""What a free worker does next: the scheduler decides, and the sampler proposes what a new trial tries.

A pure step, the same for a real worker, which takes it under the store's lock, and for a simulated one.
"""

from dataclasses import dataclass, replace

import numpy as np

from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Begin, End, Promote, Scheduler, Wait
from luthier.trials.history import History, Terms, Values
from luthier.trials.space import Space


@dataclass(frozen=True)
class Start:
    """A new trial with these values; its number is that of the trials so far."""

    values: Values
    until: int
    """Units."""
    bracket: int = 0


Job = Start | Promote | Wait | End


def propose(
    history: History,
    space: Space,
    sampler: Sampler,
    scheduler: Scheduler,
    terms: Terms,
    *,
    seed: int,
    first: Values | None = None,
) -> Job:
    """The next job. `first`: the values of trial 0, where they are given; `seed`: the whole search's."""
    decision = scheduler.decide(history, terms)
    if not isinstance(decision, Begin):
        return decision
    number = len(history.trials)
    values = first if number == 0 and first is not None else None
    if values is None:
        known = replace(history, is_for_look=decision.until < terms.horizon)
        values = sampler.suggest(space, known, seed=trial_seed(seed, number))
    if values is not None:
        return Start(values, decision.until, decision.bracket)
    without = scheduler.decide(history, terms, can_begin=False)
    assert not isinstance(without, Begin), "a new trial was decided although none can begin"
    return without


def trial_seed(seed: int, number: int) -> int:
    """A trial's own seed: the search's, spread over 32 bits, and the trial's number, as samplers are promised."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) + number
