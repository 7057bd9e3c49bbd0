"""Which sampler and scheduler `auto` stands for: by how many full runs the budget holds, and by the space.

Measured on MFHartmann (docs/search.md): many short looks, of which the best go on, come near the optimum sooner; a
Gaussian process over full runs ends nearest to it. With few parameters and runs for both, the looks come first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.component import find
from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Scheduler
from luthier.trials.history import Terms
from luthier.trials.space import Space

AUTO = "auto"
MANY_RUNS = 20
"""Full runs from which some are left for a model when the looks are over."""
LOOKS = 0.25
"""Share of the budget that goes into short looks where there are many runs."""
FEW_RUNS = 5
"""Full runs below which a model has too few points to learn from."""
MOST_PARAMETERS = 8
"""Of a Gaussian process; in more, TPE, which looks at one parameter at a time, needs fewer trials."""


@dataclass(frozen=True)
class Chosen:
    """A sampler and a scheduler by their kinds, and the reason."""

    sampler: str
    scheduler: str
    because: str
    settings: dict[str, Any] = field(default_factory=dict)
    """The scheduler's."""
    of_sampler: dict[str, Any] = field(default_factory=dict)
    """The sampler's."""


def settle(sampler: Sampler, scheduler: Scheduler, space: Space, terms: Terms) -> tuple[Sampler, Scheduler]:
    """Both as they work together: where one of them is `auto`, it suits the other one.

    A scheduler may advise a sampler, as BOHB does; and with a sampler that learns nothing short looks are always better
    than full runs alone.
    """
    chosen = choose(space, terms)
    settled_scheduler, settled_sampler = scheduler.resolved(space, terms), sampler.resolved(space, terms)
    if scheduler.kind() == AUTO != sampler.kind() and not sampler.learns and chosen.sampler != "grid":
        settled_scheduler = _scheduler("asha")
    advised = settled_scheduler.advises
    if sampler.kind() == AUTO != scheduler.kind() and advised is not None:
        settled_sampler = made_sampler(advised, settled_scheduler.advises_with)
    return settled_sampler, settled_scheduler


def made_sampler(kind: str, settings: Mapping[str, Any]) -> Sampler:
    """The sampler of a kind with these settings."""
    found = find("samplers", kind).model_validate(dict(settings))
    assert isinstance(found, Sampler)
    return found


def _scheduler(kind: str) -> Scheduler:
    found = find("schedulers", kind)()
    assert isinstance(found, Scheduler)
    return found


def choose(space: Space, terms: Terms) -> Chosen:
    """The kinds for this space and budget."""
    num_runs, num_parameters = terms.units / terms.horizon, len(space.parameters)
    num_settings = space.num_settings
    told = f"the budget holds {num_runs:.3g} full runs"
    if num_settings is not None and num_settings <= num_runs:
        why = f"{told}, enough for each of the {num_settings} settings"
        return Chosen("grid", "full", why, of_sampler={"num": num_settings})  # no range is cut to fewer levels
    if terms.num_objectives > 1:
        return Chosen("nsga2", "full", f"{terms.num_objectives} objectives have no single best trial")
    model = "gp" if num_parameters <= MOST_PARAMETERS else "tpe"
    if num_runs >= MANY_RUNS and num_parameters <= MOST_PARAMETERS:
        why = f"{told}, enough for short looks first and then a model of the {num_parameters} parameters"
        return Chosen("gp", "asha", why, {"looks": LOOKS})
    if num_runs >= FEW_RUNS:
        return Chosen(model, "asha", f"{told}: short looks first, of which the best go on")
    return Chosen("random", "asha", f"{told}, too few to learn from: short looks, of which the best go on")
